"""HEIC gives the pixels of Pillow with pillow-heif's plugin, upright once; what is damaged is refused in a sentence."""

import struct
import subprocess
import sys
from io import BytesIO

import cv2
import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dermis.pictures import PictureError, heic
from dermis.pictures.decode import decode, size
from tests.pictures.conftest import changed, changes, picture_or_sentence

ORIENTATION = 0x0112
EXACT = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}


@pytest.fixture(scope="module", autouse=True)
def _opener():
    pillow_heif.register_heif_opener()


def photograph(height=90, width=120, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def encode(image, **options):
    pillow_heif.register_heif_opener()
    buffer = BytesIO()
    image.save(buffer, "HEIF", **options)
    return buffer.getvalue()


def with_orientation(orientation):
    """A picture that carries an orientation, as a phone's camera hands it to the encoder."""
    exif, buffer = Image.Exif(), BytesIO()
    exif[ORIENTATION] = orientation
    photograph().save(buffer, "PNG", exif=exif)
    return Image.open(BytesIO(buffer.getvalue()))


def test_pixels_equal_pillows():
    for mode, options in (("RGB", {}), ("RGB", {"quality": 30}), ("L", {}), ("RGB", EXACT)):
        data = encode(photograph().convert(mode), **options)
        picture = decode(data)
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        assert picture.flags.writeable
        assert size(data) == (90, 120)
        np.testing.assert_array_equal(picture, np.array(Image.open(BytesIO(data)).convert("RGB")))
    np.testing.assert_array_equal(picture, np.array(photograph()))
    np.testing.assert_array_equal(decode(data, at_least=16), picture)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_phones_picture_is_turned_once_though_two_places_say_so(orientation):
    image = with_orientation(orientation)
    data = encode(image, **EXACT)
    turned, mirrored = orientation in (3, 5, 6, 7, 8), orientation in (2, 4, 5, 7)
    assert (b"irot" in data, b"imir" in data) == (turned, mirrored)
    opened = pillow_heif.open_heif(data)
    kept = Image.Exif()
    kept.load(opened.info["exif"] or b"")
    assert kept.get(ORIENTATION, 1) == orientation  # EXIF still says so, too
    expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert size(data) == expected.shape[:2]
    np.testing.assert_array_equal(decode(data), expected)


def test_exif_alone_turns_nothing_as_the_standard_has_it():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(photograph(), exif=exif, **EXACT)
    assert b"irot" not in data
    assert size(data) == (90, 120)
    np.testing.assert_array_equal(decode(data), np.array(photograph()))


def test_transparency_is_laid_on_white():
    image = photograph().convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 120).astype(np.uint8), (90, 1))))
    picture = decode(encode(image, quality=-1, chroma=444)).astype(float)
    seen = np.array(image)
    alpha = seen[..., 3:] / 255
    assert np.abs(picture - (seen[..., :3] * alpha + 255 * (1 - alpha))).mean() < 1
    assert (picture[:, 0] == 255).all()


def test_ten_bits_keep_the_high_eight():
    deep = np.random.default_rng(0).integers(0, 1024, (64, 64, 3)).astype(np.uint16)
    buffer = BytesIO()
    pillow_heif.from_bytes("RGB;16", (64, 64), (deep << 6).tobytes()).save(buffer, **EXACT)
    assert pillow_heif.open_heif(buffer.getvalue()).info["bit_depth"] == 10
    assert np.abs(decode(buffer.getvalue()).astype(int) - (deep >> 2)).max() <= 1


def test_of_several_pictures_the_primary_one_counts():
    several = pillow_heif.HeifFile()
    for seed, sides in enumerate([(90, 120), (64, 80), (70, 70)]):
        several.add_from_pillow(photograph(*sides, seed=seed))
    buffer = BytesIO()
    several.save(buffer, primary_index=1, **EXACT)
    assert size(buffer.getvalue()) == (64, 80)
    np.testing.assert_array_equal(decode(buffer.getvalue()), np.array(photograph(64, 80, seed=1)))


def test_tiles_as_phones_write_them_are_put_together():
    data = encode(photograph(300, 500), tile_size=128, **EXACT)
    assert b"grid" in data
    assert size(data) == (300, 500)
    np.testing.assert_array_equal(decode(data), np.array(photograph(300, 500)))


@pytest.mark.parametrize(
    "brands, kind",
    [
        ("heic mif1", "HEIC"), ("mif1 mif1 heic", "HEIC"), ("msf1 hevc", "HEIC"), ("mif1 mif1 miaf", "HEIC"),
        ("avif mif1 heic", "AVIF"), ("mif1 mif1 avif", "AVIF"), ("qt   qt  ", "MP4 or QuickTime"),
        ("isom mp42 avc1", "MP4 or QuickTime"),
    ],
)  # fmt: skip
def test_the_brands_of_the_first_box_tell_what_it_is(brands, kind):
    major, *others = brands.split(" ")
    body = major.ljust(4).encode() + bytes(4) + b"".join(other.ljust(4).encode() for other in others)
    data = struct.pack(">I", 8 + len(body)) + b"ftyp" + body + bytes(40) + b"heic"
    assert heic.kind_of(data) == kind
    assert heic.kind_of(data[:9]) in ("HEIC", "MP4 or QuickTime", "AVIF")
    with pytest.raises(PictureError, match=f"its {kind} header|it is a {kind} file"):
        size(data)


def test_without_pillow_heif_the_extra_is_named(monkeypatch):
    data = encode(photograph())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for ask in (size, decode):
        with pytest.raises(PictureError, match=r"pip install 'dermis\[heic\]'"):
            ask(data)


def claiming(data, width, height):
    """The file with other sizes in its property and, of tiles, in the grid."""
    at = data.index(b"ispe")
    true = data[at + 8 : at + 16]
    data = data.replace(b"ispe" + bytes(4) + true, b"ispe" + bytes(4) + struct.pack(">II", width, height))
    grid = struct.pack(">HH", *struct.unpack(">II", true)[:2])
    return data.replace(bytes(2) + grid, bytes(2) + struct.pack(">HH", width % 65536, height % 65536))


def test_the_limits_are_those_of_every_format():
    data = encode(photograph())
    with pytest.raises(PictureError, match="its HEIC header says 40,000 × 40,000 pixels; at most 100,000,000"):
        decode(claiming(data, 40_000, 40_000))
    with pytest.raises(PictureError, match="its HEIC header says 120 × 1 pixels; a side has at least 8"):
        decode(claiming(data, 120, 1))
    with pytest.raises(PictureError, match="at most 10,000 pixels"):
        decode(data, max_pixels=10_000)


def test_another_size_inside_is_refused_and_lies_cost_little_memory(tmp_path):
    paths = []
    for side, claimed in ((120, 10_000), (3000, 64)):
        paths.append(tmp_path / f"{side}.heic")
        paths[-1].write_bytes(claiming(encode(Image.new("RGB", (side, side), "red")), claimed, claimed))
    program = """
import resource, sys
from dermis.pictures import PictureError
from dermis.pictures.decode import decode, size
import pillow_heif
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    size(data)
    try:
        decode(data)
    except PictureError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    out = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True).stdout
    first, second, kilobytes = out.splitlines()
    assert "truncated or damaged HEIC" in first
    assert "truncated or damaged HEIC" in second
    assert int(kilobytes) < 300_000  # the first has room made for 10,000 × 10,000 pixels of one plane or so


SMALL = [encode(photograph(24, 32)), encode(with_orientation(6)), encode(photograph(70, 90), tile_size=64)]


@pytest.mark.parametrize("data", SMALL, ids=range(len(SMALL)))
def test_a_file_cut_anywhere_is_refused_or_whole(data):
    whole = decode(data)
    for end in range(13, len(data), max(1, len(data) // 150)):
        cut = picture_or_sentence(data[:end])
        assert cut is None or np.array_equal(cut, whole)
    for tail in (b"MotionPhoto_Data" + bytes(range(256)) * 9, bytes(2000)):
        np.testing.assert_array_equal(decode(data + tail), whole)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.sampled_from(SMALL),
    changes(1, 6),
    st.booleans(),
)
def test_whatever_bytes_are_changed_a_picture_comes_or_a_picture_error(data, flips, in_header):
    end = data.index(b"mdat") if in_header else len(data)
    picture_or_sentence(changed(data, flips, 12, end))
