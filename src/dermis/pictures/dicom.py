"""DICOM as hospitals keep photographs, dermoscopy and captured screens: what the file says, and the frame it holds.

pydicom walks the elements; pixels are unpacked in ``dicom_pixels``, within the limits of every other format.

- Read are uncompressed little endian, RLE, JPEG Baseline (and Extended, of 8 bits) and JPEG 2000. Every other transfer
  syntax is refused by its name; the deflated one would have to be unpacked before anything is known about the picture.
- Only elements that describe pixels are looked at: no name, number or date of a patient is ever made into text.
- Several frames stand for the first. Overlays and ICC profiles are ignored.
"""

import re
import struct
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from dermis.pictures import PictureError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SYNTAXES = {
    "1.2.840.10008.1.2": "uncompressed",
    "1.2.840.10008.1.2.1": "uncompressed",
    "1.2.840.10008.1.2.5": "RLE",
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.51": "JPEG",
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
"""transfer syntaxes that are read -> how the frame is packed"""
DESCRIBING = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence", "VOILUTSequence", "RedPaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
)  # fmt: skip
SAMPLES = {
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3,
    "YBR_RCT": 3, "YBR_ICT": 3,
}  # fmt: skip
"""photometric interpretation -> samples per pixel"""
MAX_READS = 200_000  # of a header; one that nests or repeats more than that keeps a parser busy for minutes
MAX_FRAGMENTS = 20_000  # a film has one or a few for each frame
MAX_VALUE = 1 << 24  # bytes of a value that is read; longer ones that nobody asked for are skipped
_SYNTAX = 0x0002_0010
_PIXELS = (0x7FE0_0008, 0x7FE0_0009, 0x7FE0_0010)  # of floats, of doubles, and the only one that a picture has
_UNDEFINED = 0xFFFF_FFFF
_ITEM = b"\xfe\xff\0\xe0"


@dataclass(frozen=True)
class Elements:
    """``tags`` that were asked for; the transfer syntax; where the pixels begin, and their length, in bytes."""

    tags: "Dataset"
    syntax: str
    at: int | None = None
    length: int = 0


@dataclass(frozen=True)
class Stored:
    """How a picture is stored; ``photometric`` is one of SAMPLES, ``packing`` one of SYNTAXES' values."""

    tags: "Dataset"
    packing: str
    photometric: str
    rows: int
    columns: int
    allocated: int
    """bits of a sample on disk, 8 or 16, of which ``bits`` hold it, the topmost being number ``high``"""
    bits: int
    high: int
    signed: bool
    at: int
    length: int

    @property
    def samples(self) -> int:
        """Per pixel: 1 or 3."""
        return SAMPLES[self.photometric]


def is_dicom(data: bytes) -> bool:
    """Do these first bytes, 132 or more, begin a DICOM file?"""
    return data[128:132] == b"DICM"


def size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels. Raises PictureError for what is not read, and without pydicom."""
    stored = read_stored(data)
    return stored.rows, stored.columns


def read_elements(file: BinaryIO, tags: Collection[int]) -> Elements:
    """The elements before the pixels that have one of ``tags``. Nothing is decoded.

    Raises PictureError for a header that names no transfer syntax or never ends, and without pydicom; on hostile bytes
    pydicom may raise anything.
    """
    reader = _pydicom()
    walked, found = _Limited(file), []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag in _PIXELS:
            found.append((tag, walked.tell(), length))
        return tag in _PIXELS

    walked.seek(132)
    meta = reader.read_dataset(
        walked, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2, specific_tags=[_SYNTAX]
    )
    if _SYNTAX not in meta:
        raise PictureError("it is a DICOM file that names no transfer syntax.")
    syntax = bytes(meta.get_item(_SYNTAX).value or b"").rstrip(b"\0 ").decode("ascii", "replace")
    if "Deflated" in name_of(syntax):  # a bomb may lie in it
        return Elements(meta, syntax)
    implicit = syntax == "1.2.840.10008.1.2"
    little = syntax != "1.2.840.10008.1.2.2"
    tags_found = reader.read_dataset(walked, implicit, little, stop_when=at_pixels, specific_tags=list(tags))
    if not found or found[-1][0] != _PIXELS[-1]:
        return Elements(tags_found, syntax)
    return Elements(tags_found, syntax, *found[-1][1:])


def name_of(syntax: str) -> str:
    """What DICOM calls the transfer syntax with this number, or the number where it has no name."""
    from pydicom import config, uid

    syntax = syntax[:64]  # no number is longer; after a damaged length the rest of the header follows, names and all
    name = uid.UID(syntax, config.IGNORE).name if re.fullmatch(r"[0-9.]+", syntax) else syntax
    return repr(syntax) if name == syntax else name


def read_stored(data: bytes) -> Stored:
    """The description of the picture. Raises PictureError for what is not read; on hostile bytes perhaps another."""
    found = read_elements(BytesIO(data), tags_of(DESCRIBING))
    if found.syntax not in SYNTAXES:
        raise PictureError(
            f"its DICOM transfer syntax is {name_of(found.syntax)}; read are uncompressed little endian, RLE, JPEG "
            "Baseline and JPEG 2000."
        )
    if found.at is None or "Rows" not in found.tags:
        raise PictureError("it is a DICOM file without a picture.")
    tags, packing = found.tags, SYNTAXES[found.syntax]
    if (found.length == _UNDEFINED) == (packing == "uncompressed"):
        raise PictureError(f"its DICOM pixels should be {packing}, and do not lie in the file as such.")
    photometric = str(tags.get("PhotometricInterpretation")).strip().upper()
    transformed = photometric in ("YBR_RCT", "YBR_ICT")
    if photometric not in SAMPLES or (transformed and packing != "JPEG 2000"):
        raise PictureError(f"its DICOM pixels are {photometric[:16]!r} ({packing}), which is not read.")
    allocated = int(tags.BitsAllocated)
    bits = int(tags.get("BitsStored") or allocated)
    high = int(tags.get("HighBit") or bits - 1)
    samples = int(tags.get("SamplesPerPixel") or 1)
    if allocated not in (8, 16):
        raise PictureError(f"it has {allocated}-bit samples; 8 and 16 bit are read.")
    if not 1 <= bits <= high + 1 <= allocated or samples != SAMPLES[photometric]:
        raise PictureError(
            f"its DICOM header contradicts itself: {samples} samples of {photometric}, {bits} of {allocated} bits up "
            f"to number {high}."
        )
    if photometric.startswith("MONO") and ("ModalityLUTSequence" in tags or "VOILUTSequence" in tags):
        raise PictureError("its grey values go through a look-up table of DICOM, which is not read; a window is.")
    signed = bool(tags.get("PixelRepresentation"))
    sides = int(tags.Rows), int(tags.Columns)
    return Stored(tags, packing, photometric, *sides, allocated, bits, high, signed, found.at, found.length)


def first_frame(data: bytes, stored: Stored) -> bytes:
    """The encoded bytes of the first frame, joined of its fragments. Raises PictureError if there is none.

    By hand: pydicom lists all frames' offsets and all fragments first, and of a hostile file those are gigabytes.
    """
    items, at = [], stored.at
    while data[at : at + 4] == _ITEM:
        (length,) = struct.unpack_from("<I", data, at + 4)
        if at + 8 + length > len(data):
            raise PictureError("it is a truncated or damaged DICOM: the file ends within its pixels.")
        if len(items) > MAX_FRAGMENTS:
            raise PictureError(f"its DICOM pixels lie in more than {MAX_FRAGMENTS:,} pieces.")
        items.append((at + 8, length))
        at += 8 + length
    if len(items) < 2 or not any(length for _, length in items[1:]):
        raise PictureError("its DICOM pixels have no frame.")
    (table, offsets), fragments = items[0], items[1:]
    if int(stored.tags.get("NumberOfFrames") or 1) > 1:
        begins = fragments[0][0]
        if offsets >= 8:
            (second,) = struct.unpack_from("<I", data, table + 4)
            fragments = [f for f in fragments if f[0] < begins + second]
        else:  # without offsets: up to the next fragment that begins as the first does; of RLE a frame has only one
            mark = data[begins : begins + 3]
            later = [i for i, (start, _) in enumerate(fragments) if i and data[start : start + 3] == mark]
            fragments = fragments[: 1 if stored.packing == "RLE" or not later else later[0]]
    return b"".join(data[start : start + length] for start, length in fragments)


@lru_cache(maxsize=16)
def tags_of(keywords: tuple[str, ...]) -> frozenset[int]:
    """The numbers of DICOM's keywords. Raises PictureError without pydicom."""
    _pydicom()
    from pydicom.datadict import tag_for_keyword

    tags = {keyword: tag_for_keyword(keyword) for keyword in keywords}
    return frozenset(tag for tag in tags.values() if tag is not None)


class _Limited:
    """A file whose reads are counted and bounded: sequences nest and end where the file says, and it may lie."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.reads = file, 0
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise PictureError("its DICOM header has more elements than that of any picture.")
        if count > MAX_VALUE:
            raise PictureError(f"its DICOM header has a value of {count:,} bytes.")
        return self.file.read(count)


def _pydicom():  # noqa: ANN202 (a module that may not be there)
    try:
        from pydicom import filereader
    except ImportError as error:
        raise PictureError("it is a DICOM file; to read those: pip install 'dermis[dicom]'.") from error
    return filereader
