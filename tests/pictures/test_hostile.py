"""A folder of hostile pictures: each one is either read or refused in one sentence, and nothing else ever happens."""

import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dermis.pictures import PictureError, store
from dermis.pictures.decode import decode, size
from tests.pictures.conftest import changed, changes, picture_or_sentence


def encode(image, format, **options):
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def photograph(height=90, width=120):
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def resized_header(format, width, height):
    """A small valid file whose header claims another size."""
    data = bytearray(encode(photograph(), format, **({"lossless": True} if format == "WEBP" else {})))
    if format == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif format == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif format == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif format == "TIFF":
        data = data.replace(struct.pack("<HHIHxx", 256, 4, 1, 120), struct.pack("<HHIHxx", 256, 4, 1, width))
        data = data.replace(struct.pack("<HHIHxx", 257, 4, 1, 90), struct.pack("<HHIHxx", 257, 4, 1, height))
    else:
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14 | 8 << 28)
    return bytes(data)


JPEG = encode(photograph(), "JPEG")
DAMAGED = bytearray(encode(photograph(400, 400), "JPEG"))
DAMAGED[3000:6000] = np.random.default_rng(0).integers(0, 255, 3000, dtype=np.uint8).tobytes()

REFUSED = {
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "truncated or damaged JPEG: Premature end of JPEG file"),
    "two_bytes_short.jpg": (JPEG[:-2], "truncated or damaged JPEG: Premature end of JPEG file"),
    "no_frame.jpg": (JPEG[:150], "JPEG header is truncated or damaged"),
    "damaged.jpg": (bytes(DAMAGED), "truncated or damaged JPEG: Corrupt JPEG data"),
    "truncated_cmyk.jpg": (encode(photograph().convert("CMYK"), "JPEG")[:9000], "truncated or damaged JPEG"),
    "truncated_progressive.jpg": (encode(photograph(), "JPEG", progressive=True)[:3000], "truncated or damaged JPEG"),
    "truncated.png": (encode(photograph(), "PNG")[:5000], "truncated or damaged PNG: image file is truncated"),
    "truncated.webp": (encode(photograph(), "WEBP")[:1000], "truncated or damaged WebP"),
    "truncated.bmp": (encode(photograph(), "BMP")[:9000], "truncated or damaged BMP: image file is truncated"),
    "truncated.gif": (encode(photograph(), "GIF")[:4000], "truncated or damaged GIF"),
    "truncated.tif": (encode(photograph(), "TIFF")[:4000], "truncated or damaged TIFF"),
    "cut_directory.tif": (encode(photograph(), "TIFF", compression="tiff_lzw")[:4000], "TIFF header is truncated"),
    "empty.jpg": (b"", "it has zero bytes"),
    "zeros.jpg": (bytes(5000), "begins with zeros only (5,000 bytes): an unfinished copy or download"),
    "text.jpg": (b"lorem ipsum dolor sit amet", "it is text (begins with b'lorem ipsum"),
    "web_page.jpg": (b"<!DOCTYPE html><html>404</html>", "it is text (begins with b'<!DOCTYPE html>"),
    "noise.jpg": (bytes(range(200, 256)), "no known picture format"),
    "one_pixel.png": (encode(Image.new("RGB", (1, 1)), "PNG"), "says 1 × 1 pixels; a side has at least 8"),
    "one_pixel.gif": (encode(Image.new("RGB", (1, 1)), "GIF"), "says 1 × 1 pixels; a side has at least 8"),
    "thin.jpg": (encode(Image.new("RGB", (500, 7)), "JPEG"), "says 500 × 7 pixels; a side has at least 8"),
    "bomb.png": (png_header(40_000, 40_000), "PNG header says 40,000 × 40,000 pixels; at most 100,000,000"),
    "bomb.jpg": (resized_header("JPEG", 40_000, 40_000), "JPEG header says 40,000 × 40,000 pixels"),
    "bomb.gif": (resized_header("GIF", 40_000, 40_000), "GIF header says 40,000 × 40,000 pixels"),
    "bomb.bmp": (resized_header("BMP", 40_000, 40_000), "BMP header says 40,000 × 40,000 pixels"),
    "bomb.tif": (resized_header("TIFF", 40_000, 40_000), "TIFF header says 40,000 × 40,000 pixels"),
    "bomb.webp": (resized_header("WEBP", 16_000, 16_000), "WebP header says 16,000 × 16,000 pixels"),
    "scans.jpg": (
        encode(photograph(), "JPEG", progressive=True)[:-2] + b"\xff\xda" * 300 + b"\xff\xd9",
        "progressive JPEG of more than 200 scans",
    ),
    "deep.jpg": (JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "12-bit JPEG; only 8 bit are read"),
    "dicom.dcm": (bytes(128) + b"DICM" + bytes(100), "it is a DICOM file that names no transfer syntax"),
    "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(100), "its HEIC header is truncated or damaged"),
    "clip.mov": (b"\0\0\0\x14ftypqt  " + bytes(100), "it is a MP4 or QuickTime file, which is not a picture"),
    "new.avif": (b"\0\0\0\x18ftypavif" + bytes(100), "it is a AVIF file, which is not read; convert it"),
    "page.pdf": (b"%PDF-1.7" + bytes(100), "it is a PDF file, which is not a picture"),
}


@pytest.mark.filterwarnings("ignore")  # Pillow's, on damaged directories
@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_picture_is_refused_in_one_sentence(name, tmp_path):
    data, sentence = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PictureError) as error:
        decode(store.read_bytes(tmp_path, name))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(PictureError):
        decode(data, at_least=16)


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith(("bomb", "one_pixel", "scans", "text"))])
def test_what_the_header_gives_away_is_refused_before_decoding(name):
    with pytest.raises(PictureError):
        size(REFUSED[name][0])


def test_the_limits_can_be_moved():
    assert decode(encode(Image.new("RGB", (1, 1), "red"), "PNG"), min_side=1).tolist() == [[[255, 0, 0]]]
    with pytest.raises(PictureError, match="at most 10,000 pixels"):
        decode(JPEG, max_pixels=10_000)


@pytest.mark.parametrize("where", [slice(-2, -2), slice(20, 20)])
def test_a_few_stray_bytes_between_markers_do_no_harm(where):
    data = bytearray(JPEG)
    data[where] = b"abcd"
    np.testing.assert_array_equal(decode(bytes(data)), decode(JPEG))


def test_bytes_after_the_end_and_names_of_another_format_do_no_harm(tmp_path):
    (tmp_path / "IMAGE.Png").write_bytes(JPEG + b"motion photo" * 100)
    np.testing.assert_array_equal(decode(store.read_bytes(tmp_path, "image.PNG")), decode(JPEG))


def test_damaged_exif_leaves_the_picture_as_stored():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(photograph(), "JPEG", exif=exif)
    at = data.index(b"Exif\0\0") + 6
    for damage in (b"XX", data[at : at + 4] + b"\xff\xff\xff\xff"):
        assert decode(data[:at] + damage + data[at + len(damage) :]).shape == (90, 120, 3)


SMALL = [
    encode(photograph(24, 32).convert(mode), format, **options)
    for format, mode, options in (
        ("JPEG", "RGB", {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"}),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "L", {}),
        ("PNG", "RGB", {}),
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "RGBA", {}),
        ("TIFF", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "L", {"compression": "tiff_deflate"}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True, "exif": b"II*\0\x08\0\0\0"}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
        ("GIF", "P", {}),
    )
]


@settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.sampled_from(SMALL),
    changes(0, 8),
    st.booleans(),
    st.floats(0, 1),
    st.sampled_from([None, 4, 16]),
)
@pytest.mark.filterwarnings("ignore")  # Pillow's, on damaged directories
def test_whatever_bytes_do_a_picture_comes_or_a_picture_error(data, flips, in_header, kept, at_least):
    damaged = changed(data, flips, 0, min(len(data), 200) if in_header else len(data))
    if kept < 0.5:
        damaged = damaged[: int(2 * kept * len(damaged))]
    picture_or_sentence(damaged, at_least=at_least)
