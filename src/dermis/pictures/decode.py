"""Encoded bytes -> an RGB array, upright: JPEG, PNG, TIFF, WebP, BMP, GIF; with extras DICOM and HEIC.

Decisions, the same for every format:

- The size is read from the header and limited before anything is decoded.
- EXIF orientation is applied, but not to HEIC and DICOM, which say themselves how a picture stands. Where XMP or a text
  chunk repeats it or says otherwise, that is ignored in every format, as browsers do: ``size`` and ``decode`` agree.
- ICC profiles are ignored, as Pillow, torchvision and the published weights of this field ignore them: a Display-P3
  phone picture comes out a little less saturated than on the phone.
- Transparency is laid on white. 16-bit samples keep their high byte. Palettes and grey become RGB.
- CMYK and YCCK become RGB without a profile, R = C·K/255, taking JPEGs for inverted as Adobe and Pillow do.
- An animation or a multi-page file stands for its first frame or page.
- A truncated or damaged picture is an error, never a half-grey picture. A JPEG with harmless stray bytes is read.

JPEGs go through simplejpeg (libjpeg-turbo), whose pixels equal Pillow's bit for bit and which reports damaged data;
without it through Pillow, which reports truncation only. OpenCV is no third way: it returns half pictures in silence.
"""

import re
from io import BytesIO

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from PIL import WebPImagePlugin as WebP

from dermis.pictures import PictureError, dicom_pixels, heic
from dermis.pictures.header import Header, read_header

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

MAX_PIXELS = 100_000_000
MIN_SIDE = 8  # pixels; less is a tracking pixel or a broken export, and no lesion
MAX_RATIO = 100  # of a picture's sides; a strip grows to gigabytes where its shorter side becomes a model's input
MAX_STRAY = 16  # bytes between markers that cameras leave; where the decoder lost its place, hundreds remain
MAX_SCANS = 200  # a progressive JPEG of a few kilobytes with thousands of scans keeps a decoder busy for minutes

# The readers themselves rather than Image.open, which would warn about sizes that are allowed here.
_PILLOW = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WebP": WebP.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "HEIC": heic.open_image,
}


def size(data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> tuple[int, int]:
    """Height and width in pixels once upright, from the header alone. Raises PictureError as ``decode`` does."""
    return _checked_header(data, max_pixels, min_side).size


def decode(
    data: bytes, *, at_least: int | None = None, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE
) -> np.ndarray:
    """An encoded picture as a uint8 array (H, W, 3), RGB, upright.

    ``at_least``: a JPEG may come at 1/2, 1/4 or 1/8 of its size (scaled in the frequency domain, which is faster and
    does not alias) as long as its shorter side keeps at least that many pixels, also one in a DICOM file. Other formats
    come at full size.
    Raises PictureError: not a picture, damaged, over ``max_pixels``, or with a side below ``min_side``.
    """
    header = _checked_header(data, max_pixels, min_side)
    if header.format == "DICOM":
        return dicom_pixels.decode(data, lambda frame: _decode_frame(frame, header, at_least))
    stored = _decode_jpeg(data, header, at_least) if header.format == "JPEG" else _decode_pillow(data, header)
    return _upright(stored, header.orientation)


def _checked_header(data: bytes, max_pixels: int, min_side: int) -> Header:
    header = read_header(data)
    height, width = header.size
    if min(height, width) < min_side:
        raise PictureError(
            f"its {header.format} header says {width} × {height} pixels; a side has at least {min_side}."
        )
    if max(height, width) > MAX_RATIO * min(height, width):
        raise PictureError(
            f"its {header.format} header says {width:,} × {height:,} pixels; a side has at most {MAX_RATIO} times the "
            "other's."
        )
    if height * width > max_pixels:
        raise PictureError(
            f"its {header.format} header says {width:,} × {height:,} pixels; at most {max_pixels:,} pixels are read."
        )
    _check_scans(data, header)
    return header


def _check_scans(data: bytes, header: Header) -> None:
    if header.progressive and data.count(b"\xff\xda") > MAX_SCANS:
        raise PictureError(f"it is a progressive JPEG of more than {MAX_SCANS} scans, as no camera writes.")


def _decode_frame(data: bytes, outer: Header, at_least: int | None) -> np.ndarray:
    """A JPEG that lies in another file, as stored; PictureError if it is none, or of another size than ``outer``."""
    header = read_header(data)
    if (header.format, header.height, header.width) != ("JPEG", outer.height, outer.width):
        raise PictureError(
            f"its {outer.format} data are {header.format} of {header.width:,} × {header.height:,} pixels, its header "
            "says otherwise."
        )
    _check_scans(data, header)
    return _decode_jpeg(data, header, at_least)


def _decode_jpeg(data: bytes, header: Header, at_least: int | None) -> np.ndarray:
    """The JPEG as stored, at the smallest fraction whose shorter side keeps ``at_least`` pixels."""
    divisor, shorter = 1, min(header.size)
    if at_least is not None:
        divisor = next((d for d in (8, 4, 2) if -(-shorter // d) >= max(at_least, 1)), 1)
    picture = None if simplejpeg is None else _decode_simplejpeg(data, header, divisor)
    return _decode_pillow(data, header, divisor) if picture is None else picture


def _decode_simplejpeg(data: bytes, header: Header, divisor: int) -> np.ndarray | None:
    """The JPEG as stored, or None if it is one that Pillow has to read (odd subsampling, harmless stray bytes)."""
    try:
        picture = simplejpeg.decode_jpeg(
            data,
            colorspace="CMYK" if header.components == 4 else "RGB",
            min_height=-(-header.height // divisor),
            min_width=-(-header.width // divisor),
            min_factor=divisor,
        )
    except ValueError as error:
        warning = str(error)
        stray = re.search(r"(\d+) extraneous bytes", warning)
        lost = "Corrupt JPEG data" in warning or "Premature end" in warning
        if int(stray[1]) > MAX_STRAY if stray else lost:
            raise PictureError(f"it is a truncated or damaged JPEG: {warning}.") from error
        return None
    return _ink_to_light(picture) if header.components == 4 else picture


def _ink_to_light(cmyk: np.ndarray) -> np.ndarray:
    """RGB from Adobe's inverted CMYK (255 = no ink), rounded as Pillow does."""
    light, key = cmyk[..., :3].astype(np.uint16), cmyk[..., 3:].astype(np.uint16)
    absorbed = (255 - light) * key + 128
    return (key - ((absorbed + (absorbed >> 8)) >> 8)).astype(np.uint8)


def _upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8)."""
    if orientation == 1:
        return picture
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def _decode_pillow(data: bytes, header: Header, divisor: int = 1) -> np.ndarray:
    """By Pillow and its plugins, as ``header.orientation`` finds it: TIFF and HEIC turn themselves."""
    try:
        with _PILLOW[header.format](BytesIO(data)) as image:
            _check_size(image, header)
            if divisor > 1:
                # Pillow takes the fraction that both sides allow, so they are rounded down here.
                image.draft("RGB", (max(header.width // divisor, 1), max(header.height // divisor, 1)))
            image.info.pop("xmp", None)  # by which Pillow would turn a TIFF too
            image.load()
            if header.format == "HEIC":  # whose size is known for certain only now
                _check_size(image, header)
            return _rgb(image)
    except PictureError:
        raise
    except Exception as error:  # Pillow's readers on hostile bytes may raise anything
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise PictureError(f"it is a truncated or damaged {header.format}: {reason}.") from error


def _check_size(image: Image.Image, header: Header) -> None:
    if image.size != (header.width, header.height):  # the limit was for another picture
        width, height = image.size
        raise PictureError(f"its {header.format} data have {width:,} × {height:,} pixels, its header others.")


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise PictureError("it has 32-bit samples; 8 and 16 bit are read.")
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
