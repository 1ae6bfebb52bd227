"""HEIC and HEIF, as phones take photographs: recognised by their brands, opened by pillow-heif (libheif).

The picture's own rotation and mirroring (`irot`, `imir`) are part of the format, and libheif applies them. The EXIF
orientation beside them repeats them or is left over: the standard (ISO/IEC 23008-12) has it ignored, and so it is here.
Of several pictures the primary one counts; depth maps, thumbnails and motion are left alone; 10 bits become 8.

libheif paints tiles black whose bytes are missing, so a file that was cut off is told by its boxes. Bytes that changed
on the way cannot be told: HEVC has no checksum, and its decoder makes something of them.
"""

from io import BytesIO
from typing import BinaryIO

from PIL import Image

from dermis.pictures import PictureError

BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
CONTAINERS = frozenset((b"mif1", b"mif2", b"msf1"))  # of a picture, whatever it is encoded by
AVIF = frozenset((b"avif", b"avis"))
MAX_BOXES = 1000  # of a file, not counting those in others; phones write five


def kind_of(data: bytes) -> str | None:
    """HEIC, AVIF or "MP4 or QuickTime" by the brands of the first box; None if it is no box of brands."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), 1024)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
    if brands[0] in AVIF:
        return "AVIF"
    if not BRANDS.isdisjoint(brands):
        return "HEIC"
    if not AVIF.isdisjoint(brands):
        return "AVIF"
    return "HEIC" if not CONTAINERS.isdisjoint(brands) else "MP4 or QuickTime"


def size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels, upright, from the boxes alone.

    Raises PictureError for a file that was cut off, and without pillow-heif; on hostile bytes libheif's own.
    """
    _check_end(data)
    with open_image(BytesIO(data)) as image:
        return image.height, image.width


def _check_end(data: bytes) -> None:
    at = 0
    for _ in range(MAX_BOXES):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if kind == b"mdat" and at + length > len(data):  # of other kinds, it may be what phones append to a picture
            raise PictureError(f"it is a truncated HEIC: {at + length - len(data):,} bytes are missing at its end.")
        if length < 8:  # the last box, which ends where the file ends; or something else than boxes
            return
        at += length


def open_image(file: BinaryIO) -> Image.Image:
    """The primary picture, upright, not decoded yet. Raises PictureError without pillow-heif."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise PictureError("it is a HEIC file; to read those: pip install 'dermis[heic]'.") from error
    return HeifImageFile(file)
