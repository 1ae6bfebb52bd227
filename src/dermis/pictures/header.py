"""What the first bytes of a picture say: format, size, orientation. Nothing is decoded, so a bomb costs nothing here.

JPEG, PNG, GIF, BMP and WebP are read by hand, because the size must be known before a decoder sees the data; TIFF by
Pillow, whose reader only parses its directory; DICOM and HEIC in files of their own.
"""

import struct
from dataclasses import dataclass
from io import BytesIO

from PIL import ExifTags, TiffImagePlugin

from dermis.pictures import PictureError, dicom, heic

FORMATS = ("JPEG", "PNG", "TIFF", "WebP", "BMP", "GIF", "DICOM", "HEIC")
_ELSEWHERE = {
    "AVIF": "is not read; convert it to JPEG or PNG",
    "MP4 or QuickTime": "is not a picture; export a frame as PNG",
    "JPEG 2000": "is not read; convert it to JPEG or PNG",
    "PDF": "is not a picture; export its pictures",
}


class UnknownFormatError(PictureError):
    """Bytes that begin as no picture does; ``args[0]`` says how."""

    def __str__(self) -> str:
        return f"{self.args[0]}; read are {', '.join(FORMATS)}."


@dataclass(frozen=True)
class Header:
    """``height`` and ``width`` as stored; ``orientation`` as in EXIF, 1 to 8 (1 for TIFF, HEIC and DICOM: their size is
    already upright)."""

    format: str
    height: int
    width: int
    orientation: int = 1
    components: int = 3
    progressive: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width once upright."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(data: bytes) -> Header:
    """The header of an encoded picture. Raises PictureError where there is none, or of a format that is not read."""
    name = _format(data)
    try:
        return _READERS[name](data)
    except PictureError:
        raise
    except Exception as error:  # a parser on hostile bytes may raise anything
        raise PictureError(f"its {name} header is truncated or damaged.") from error


def _format(data: bytes) -> str:
    if not data:
        raise PictureError("it has zero bytes.")
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if dicom.is_dicom(data):  # before TIFF: the 128 bytes before its name may begin one, for programs that read both
        return "DICOM"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":
        return "BMP"
    if heic.kind_of(data) == "HEIC":
        return "HEIC"
    if (other := _other_format(data)) is not None:
        raise PictureError(f"it is a {other} file, which {_ELSEWHERE[other]}.")
    beginning = data[:24]
    if not beginning.strip(b"\0"):
        raise PictureError(f"it begins with zeros only ({len(data):,} bytes): an unfinished copy or download.")
    kind = "text" if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in beginning) else "no known picture format"
    raise UnknownFormatError(f"it is {kind} (begins with {beginning!r})")


def _other_format(data: bytes) -> str | None:
    if (kind := heic.kind_of(data)) is not None:
        return kind
    if data[:12] == b"\0\0\0\x0cjP  \r\n\x87\n":
        return "JPEG 2000"
    return "PDF" if data[:5] == b"%PDF-" else None


def _jpeg(data: bytes) -> Header:
    orientation, at = 1, 2
    while True:
        at = data.index(b"\xff", at)
        while data[at] == 0xFF:  # markers may be padded
            at += 1
        marker, at = data[at], at + 1
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        if marker in (0xD9, 0xDA):
            raise PictureError("its JPEG header is damaged: no frame before the scan.")
        (length,) = struct.unpack_from(">H", data, at)
        if marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\0\0" and orientation == 1:
            orientation = _exif_orientation(data[at + 8 : at + length])
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, height, width, components = struct.unpack_from(">BHHB", data, at + 2)
            if precision != 8:
                raise PictureError(f"it is a {precision}-bit JPEG; only 8 bit are read.")
            return Header("JPEG", height, width, orientation, components, marker in (0xC2, 0xC6, 0xCA, 0xCE))
        at += length


def _exif_orientation(tiff: bytes) -> int:
    """Orientation in the first directory of an EXIF block; 1 if there is none or the block is damaged."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, at)
            if tag == ExifTags.Base.Orientation:
                (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), tiff, at + 8)
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass  # a picture with damaged EXIF is shown as stored, as browsers do
    return 1


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    orientation, at = 1, 8
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
        at += 12 + length
    return Header("PNG", height, width, orientation)


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("GIF", height, width)


def _bmp(data: bytes) -> Header:
    old = data[14] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return Header("BMP", abs(height), width)


def _webp(data: bytes) -> Header:
    kind, orientation = data[12:16], 1
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        at = 12
        while at + 8 <= len(data):
            (length,) = struct.unpack_from("<I", data, at + 4)
            if data[at : at + 4] == b"EXIF":
                block = data[at + 8 : at + 8 + length]
                orientation = _exif_orientation(block.removeprefix(b"Exif\0\0"))
            at += 8 + length + length % 2
    return Header("WebP", height, width, orientation)


def _tiff(data: bytes) -> Header:
    width, height = TiffImagePlugin.TiffImageFile(BytesIO(data)).size
    return Header("TIFF", height, width)


def _dicom(data: bytes) -> Header:
    return Header("DICOM", *dicom.size(data))


def _heic(data: bytes) -> Header:
    return Header("HEIC", *heic.size(data))


_READERS = {
    "JPEG": _jpeg, "PNG": _png, "GIF": _gif, "BMP": _bmp, "WebP": _webp, "TIFF": _tiff, "DICOM": _dicom, "HEIC": _heic,
}  # fmt: skip
