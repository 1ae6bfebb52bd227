"""Decoding gives Pillow's pixels: bit for bit, upright, in every format and mode."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from dermis.pictures import PictureError
from dermis.pictures import decode as module
from dermis.pictures.decode import decode, size

ORIENTATION = 0x0112


def photograph(height=203, width=301, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def encode(image, format, **options):
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pillow(data):
    return np.array(ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB"))


def same(data):
    picture, reference = decode(data), pillow(data)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert picture.flags.writeable
    assert size(data) == reference.shape[:2]
    np.testing.assert_array_equal(picture, reference)
    return True


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_a_jpeg_equals_pillows_bit_for_bit(subsampling, progressive, quality):
    assert same(encode(photograph(), "JPEG", quality=quality, subsampling=subsampling, progressive=progressive))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_grey_or_cmyk_jpeg_equals_pillows_bit_for_bit(mode):
    assert same(encode(photograph().convert(mode), "JPEG", quality=90))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_eight_orientations_come_upright_in_every_format_that_has_them(format, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert same(encode(photograph(), format, exif=exif))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_scaled_jpeg_comes_upright_too(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(photograph(), "JPEG", exif=exif)
    for divisor in (2, 4, 8):
        image = Image.open(BytesIO(data))
        image.draft("RGB", (301 // divisor, 203 // divisor))
        reference = np.array(ImageOps.exif_transpose(image))
        picture = decode(data, at_least=203 // divisor)
        assert max(picture.shape) == -(-301 // divisor)
        np.testing.assert_array_equal(picture, reference)


def test_an_orientation_beside_big_endian_exif_or_other_tags_is_found():
    exif = Image.Exif()
    exif[0x010F], exif[ORIENTATION], exif[0x0132] = "maker", 6, "2024:01:01 00:00:00"
    exif.endian = ">"
    data = encode(photograph(), "JPEG", exif=exif)
    assert b"MM\0*" in data
    assert same(data)
    assert size(data) == (301, 203)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    assert size(encode(photograph(), "JPEG", exif=exif)) == (203, 301)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_an_orientation_in_xmp_turns_nothing_and_size_agrees(format):
    xmp = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    options = {"xmp": xmp}
    if format == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    if format == "TIFF":
        options = {"tiffinfo": {700: xmp}}
    data = encode(photograph(), format, **options)
    assert size(data) == (203, 301)
    assert decode(data).shape == (203, 301, 3)


@pytest.mark.parametrize(
    "format, options",
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 80}),
        ("BMP", {}),
        ("GIF", {}),
    ],
)
def test_other_formats_equal_pillow(format, options):
    assert same(encode(photograph(), format, **options))


@pytest.mark.parametrize(
    "mode, format",
    [
        *[(mode, format) for mode in ("1", "L", "P") for format in ("PNG", "TIFF", "BMP")],
        *[("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("L", "GIF"), ("L", "WEBP")],
    ],
)
def test_other_modes_equal_pillow(mode, format):
    assert same(encode(photograph().convert(mode), format))


def test_transparency_is_laid_on_white():
    image = photograph().convert("RGBA")
    alpha = np.tile(np.linspace(0, 255, 301).astype(np.uint8), (203, 1))
    image.putalpha(Image.fromarray(alpha))
    expected = np.array(image)[..., :3] * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255)
    for format in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True, "exact": True} if format == "WEBP" else {}
        assert np.abs(decode(encode(image, format, **options)) - expected).max() <= 1
    assert (decode(encode(image, "PNG"))[:, 0] == 255).all()


def test_a_palette_with_a_transparent_entry_or_with_alphas_is_laid_on_white():
    image = photograph().quantize(16)
    index = np.array(image)
    for transparency, clear in ((3, index == 3), (bytes([0] * 8 + [255] * 8), index < 8)):
        picture = decode(encode(image, "PNG", transparency=transparency))
        assert clear.any()
        assert (picture[clear] == 255).all()
        np.testing.assert_array_equal(picture[~clear], np.array(image.convert("RGB"))[~clear])


def test_16_bit_samples_keep_their_high_byte():
    grey = np.random.default_rng(0).integers(0, 65536, (40, 50), dtype=np.uint16)
    colour = np.random.default_rng(1).integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    for format in (".png", ".tiff"):
        data = cv2.imencode(format, grey)[1].tobytes()
        np.testing.assert_array_equal(decode(data), np.repeat((grey >> 8)[..., None], 3, axis=2))
        data = cv2.imencode(format, colour[..., ::-1])[1].tobytes()
        np.testing.assert_array_equal(decode(data), colour >> 8)


def test_32_bit_samples_are_refused():
    with pytest.raises(PictureError, match="32-bit samples; 8 and 16 bit are read"):
        decode(encode(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_or_several_pages_stand_for_the_first(format):
    frames = [photograph(seed=i).quantize(32).convert("RGB") for i in range(3)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert Image.open(BytesIO(data)).n_frames == 3
    np.testing.assert_array_equal(decode(data), np.array(frames[0]))


@pytest.mark.parametrize("at_least, shape", [(203, (203, 301)), (102, (102, 151)), (51, (51, 76)), (1, (26, 38))])
def test_at_least_bounds_the_shorter_side_of_a_scaled_jpeg(at_least, shape):
    assert decode(encode(photograph(), "JPEG"), at_least=at_least).shape[:2] == shape
    assert decode(encode(photograph(), "PNG"), at_least=at_least).shape[:2] == (203, 301)


def test_without_simplejpeg_pillow_decodes_the_same_pixels(monkeypatch):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    jpegs = [encode(photograph().convert(mode), "JPEG", exif=exif) for mode in ("RGB", "L", "CMYK")]
    expected = [(decode(data), decode(data, at_least=50)) for data in jpegs]
    monkeypatch.setattr(module, "simplejpeg", None)
    for data, (whole, quarter) in zip(jpegs, expected, strict=True):
        np.testing.assert_array_equal(decode(data), whole)
        np.testing.assert_array_equal(decode(data, at_least=50), quarter)
        with pytest.raises(PictureError, match="truncated"):
            decode(data[: len(data) // 2])


def test_an_icc_profile_is_ignored():
    image = photograph()
    assert np.array_equal(decode(encode(image, "PNG", icc_profile=b"x" * 200)), decode(encode(image, "PNG")))


@pytest.mark.data
def test_real_photographs_equal_pillows(shared_data):
    for path in sorted((shared_data / "pad_ufes20_subset/images").iterdir())[:40]:
        assert same(path.read_bytes())
