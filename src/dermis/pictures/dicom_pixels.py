"""Stored values of a DICOM frame -> RGB.

- Grey goes through the VOI window where there is one: the stored values then have another scale (a camera of 12 bits
  in 16, Hounsfield units), and the window is the picture that was meant to be looked at, the one that viewers show.
  Without a window, values of more than 8 bits keep their high bits, as in every other format; signed ones are shifted.
- Colours of more than 8 bits keep their high bits; a window does not apply to them.
- YBR becomes RGB with the constants of JPEG, as Pillow has them.
- Whether a JPEG's colours were transformed is what its own markers say (JFIF, Adobe, component names); only where
  there are none, the DICOM header decides. Its EXIF orientation means nothing in DICOM.
"""

import struct
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
from PIL import Image, Jpeg2KImagePlugin

from dermis.pictures import PictureError
from dermis.pictures.dicom import Stored, first_frame, read_stored

MAX_JPEG_2000 = 50_000_000  # pixels; its decoder needs 18 bytes for each
_BLOCK = 1 << 20  # pixels that are looked up at once: numpy makes 8 bytes of each index
_UNTRANSFORMED = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"


def decode(data: bytes, decode_jpeg: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """The first frame as uint8 (H, W, 3), RGB. ``decode_jpeg`` makes such an array of a JPEG of the header's size.

    Raises PictureError for damaged pixels and for those that another size, or another file, needs.
    """
    stored = read_stored(data)
    try:
        if stored.packing == "uncompressed":
            return uncompressed(data, stored)
        frame = first_frame(data, stored)
        if stored.packing == "JPEG":
            return of_jpeg(frame, stored, decode_jpeg)
        return of_rle(frame, stored) if stored.packing == "RLE" else of_jpeg_2000(frame, stored)
    except PictureError:
        raise
    except Exception as error:  # parsers and codecs on hostile bytes may raise anything
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise PictureError(f"it is a truncated or damaged DICOM: {reason}.") from error


def uncompressed(data: bytes, stored: Stored) -> np.ndarray:
    """uint8 (H, W, 3) of pixels as they lie in ``data``. Raises PictureError if there are too few."""
    height, width, halved = stored.rows, stored.columns, stored.photometric == "YBR_FULL_422"
    if halved and width % 2:
        raise PictureError(f"its DICOM pixels are YBR_FULL_422, which halves their {width} columns: that is no number.")
    count = height * width * (2 if halved else stored.samples)
    needed, there = count * stored.allocated // 8, min(stored.length, len(data) - stored.at)
    if there < needed:
        raise PictureError(f"it is a truncated or damaged DICOM: its pixels have {there:,} bytes of {needed:,}.")
    values = np.frombuffer(data, "u1" if stored.allocated == 8 else "<u2", count, stored.at)
    if halved:
        y1_y2_b_r = values.reshape(-1, 4)
        values = y1_y2_b_r[:, [0, 2, 3, 1, 2, 3]]
    elif stored.samples == 3 and stored.tags.get("PlanarConfiguration") == 1:
        values = values.reshape(3, height, width).transpose(1, 2, 0)
    return _of_values(values.reshape(height, width, stored.samples), stored)


def of_rle(frame: bytes, stored: Stored) -> np.ndarray:
    """uint8 (H, W, 3) of a frame in run lengths: a segment per byte of a sample, the high byte first (PS3.5 G)."""
    wide = stored.allocated // 8
    segments, *starts = struct.unpack_from("<16I", frame)
    if segments != stored.samples * wide:
        raise PictureError(f"its DICOM pixels have {segments} segments of run lengths, its header says otherwise.")
    values = np.zeros((stored.rows, stored.columns, stored.samples), dtype=f"u{wide}")
    ends = [*starts[1:segments], len(frame)]
    for number, (start, end) in enumerate(zip(starts[:segments], ends, strict=True)):
        # in one row: a run may go on in the next
        row = Image.frombytes("L", (stored.rows * stored.columns, 1), frame[start:end], "packbits", "L")
        plane = np.asarray(row).reshape(stored.rows, stored.columns).astype(values.dtype)
        values[..., number // wide] |= plane << 8 * (wide - 1 - number % wide)
    return _of_values(values, stored)


def of_jpeg(frame: bytes, stored: Stored, decode_jpeg: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """uint8 (H, W, 3) of a frame that is a JPEG, by ``decode_jpeg``."""
    if stored.samples == 3:
        return decode_jpeg(_with_colours_told(frame, stored.photometric))
    if stored.photometric == "PALETTE COLOR":
        raise PictureError("its DICOM palette has numbers that JPEG has blurred.")
    return _looked_up(decode_jpeg(frame)[..., 0], _table(stored, 8))


def of_jpeg_2000(frame: bytes, stored: Stored) -> np.ndarray:
    """uint8 (H, W, 3) of a frame that is a JPEG 2000. Raises PictureError if it has another size than it should."""
    start = frame.find(b"\xff\x4f\xff\x51")
    if stored.rows * stored.columns > MAX_JPEG_2000:
        raise PictureError(f"it is a JPEG 2000 in DICOM; of those at most {MAX_JPEG_2000:,} pixels are read.")
    with Jpeg2KImagePlugin.Jpeg2KImageFile(BytesIO(frame)) as image:
        check_size(*image.size[::-1], stored)
        image.load()
        if stored.samples == 3:
            return _rgb(np.array(image.convert("RGB")), stored)
        values = np.asarray(image)
    if values.ndim != 2 or start < 0:
        raise PictureError(f"its DICOM data have {values.shape[2:]} samples a pixel, its header 1.")
    bits, signed = (frame[start + 42] & 0x7F) + 1, frame[start + 42] & 0x80
    if bits > values.dtype.itemsize * 8:
        raise PictureError(f"its DICOM data have samples of {bits} bits; 8 and 16 bit are read.")
    values = values >> (values.dtype.itemsize * 8 - bits)  # Pillow fills 8 or 16 bits
    if signed:  # and begins at the lowest
        values = values ^ (1 << bits - 1)
    return _looked_up(values, _table(stored, bits))


def check_size(height: int, width: int, stored: Stored) -> None:
    """Raise PictureError if a frame has another size than the header says: the limits were for that one."""
    if (height, width) != (stored.rows, stored.columns):
        raise PictureError(f"its DICOM data have {width:,} × {height:,} pixels, its header others.")


def _of_values(values_HWS: np.ndarray, stored: Stored) -> np.ndarray:
    if stored.bits < stored.allocated:  # bits above or below may hold an overlay
        values_HWS = values_HWS >> (stored.high + 1 - stored.bits) & (1 << stored.bits) - 1
    if stored.samples == 1:
        return _looked_up(values_HWS[..., 0], _table(stored, stored.bits))
    return _rgb(np.ascontiguousarray(_high_byte(values_HWS, stored.bits)), stored)


def _table(stored: Stored, bits: int) -> np.ndarray:
    """uint8 (2^bits, 3): the colour of every value that can be stored, as its bits are read without a sign."""
    values = np.arange(1 << bits)
    if stored.signed:
        values = np.where(values >> bits - 1, values - (1 << bits), values)
    if stored.photometric == "PALETTE COLOR":
        return _palette(values, stored)
    window = _window(stored)
    if window is None:
        grey = _high_byte(values - values.min(), bits)
    else:
        grey = np.rint(255 * window(values.astype(np.float64))).astype(np.uint8)
    if stored.photometric == "MONOCHROME1":
        grey = 255 - grey
    return np.repeat(grey[:, None], 3, axis=1)


def _high_byte(values: np.ndarray, bits: int) -> np.ndarray:
    if bits < 8:
        return (values.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8)
    return (values >> (bits - 8)).astype(np.uint8)  # a copy, also of 8 bits


def _window(stored: Stored) -> Callable[[np.ndarray], np.ndarray] | None:
    """The first VOI window, a function to 0–1 (PS3.3 C.11.2.1.2 and C.11.2.1.3); None where there is none."""
    if "WindowCenter" not in stored.tags or "WindowWidth" not in stored.tags:
        return None
    centre, width, slope, intercept = (
        _first_number(stored, keyword, otherwise)
        for keyword, otherwise in (
            ("WindowCenter", None), ("WindowWidth", None), ("RescaleSlope", 1), ("RescaleIntercept", 0)
        )
    )  # fmt: skip
    kind = str(stored.tags.get("VOILUTFunction") or "LINEAR").strip().upper()
    if kind not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or (width < 1 and kind == "LINEAR") or width <= 0:
        raise PictureError(f"its DICOM window is {width} wide and {kind[:16]!r}, which is not read.")
    if kind == "SIGMOID":
        return lambda values: 1 / (1 + np.exp(np.clip(-4 * (values * slope + intercept - centre) / width, -500, 500)))
    if kind == "LINEAR":
        centre, width = centre - 0.5, width - 1
    lowest = centre - width / 2
    return lambda values: np.clip((values * slope + intercept - lowest) / max(width, 1e-9), 0, 1)


def _first_number(stored: Stored, keyword: str, otherwise: float | None) -> float:
    value = stored.tags.get(keyword)
    value = otherwise if value is None else float(value if isinstance(value, float | int | str) else value[0])
    if value is None or not np.isfinite(value):
        raise PictureError(f"its DICOM header has no number as {keyword}.")
    return float(value)


def _palette(values: np.ndarray, stored: Stored) -> np.ndarray:
    """uint8 (2^bits, 3). Of 16-bit entries the high byte; values off the table are its first or last entry."""
    if "RedPaletteColorLookupTableData" not in stored.tags:
        raise PictureError("its DICOM palette is missing or in segments, which are not read.")
    entries, first, depth = (int(part) for part in stored.tags.RedPaletteColorLookupTableDescriptor)
    entries = entries % (1 << 16) or 1 << 16
    index = np.clip(values - first, 0, entries - 1)
    colours = []
    for colour in ("Red", "Green", "Blue"):
        packed = stored.tags.get_item(f"{colour}PaletteColorLookupTableData").value
        wide = len(packed) >= 2 * entries
        found = np.frombuffer(packed, "<u2" if wide else "u1", entries)
        colours.append((found >> 8 if wide and depth > 8 else found & 255)[index])
    return np.stack(colours, axis=1).astype(np.uint8)


def _looked_up(values_HW: np.ndarray, table: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3)."""
    picture = np.empty((*values_HW.shape, 3), dtype=np.uint8)
    step = max(1, _BLOCK // values_HW.shape[1])
    for top in range(0, len(picture), step):
        picture[top : top + step] = table[values_HW[top : top + step]]
    return picture


def _rgb(picture: np.ndarray, stored: Stored) -> np.ndarray:
    if stored.photometric not in ("YBR_FULL", "YBR_FULL_422"):
        return picture
    height, width, _ = picture.shape
    return np.array(Image.frombuffer("YCbCr", (width, height), picture, "raw", "YCbCr", 0, 1).convert("RGB"))


def _with_colours_told(frame: bytes, photometric: str) -> bytes:
    """``frame`` with a marker that keeps decoders from transforming colours, if it has none and should have one."""
    names, told = b"", False
    for marker, body in _segments(frame):
        told |= (marker == 0xE0 and body[:5] == b"JFIF\0") or (marker == 0xEE and body[:5] == b"Adobe")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            names = body[6::3]
    untransformed = names == b"rgb" or (photometric == "RGB" and names != b"RGB")
    return frame[:2] + _UNTRANSFORMED + frame[2:] if untransformed and not told else frame


def _segments(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers of a JPEG before its first scan, and what follows each."""
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF and frame[at + 1] != 0xDA:
        if frame[at + 1] == 0xFF:  # markers may be padded
            at += 1
            continue
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        yield frame[at + 1], frame[at + 4 : end]
        at = end
