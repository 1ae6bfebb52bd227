"""DICOM gives the pixels of pydicom, whatever is stored and however it is packed."""

import struct
import subprocess
import sys
from io import BytesIO

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_rescale, apply_windowing, pixel_array

from dermis.pictures import PictureError, dicom
from dermis.pictures.decode import decode, size

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, on its own files that are meant to be odd


ITEM = struct.Struct("<HHI")


def photograph(height=90, width=120, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(picture, format="JPEG", **options):
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, format, **options)
    return buffer.getvalue()


def written(pixels, syntax=uid.ExplicitVRLittleEndian, **elements):
    """A DICOM file as pydicom writes it: an array as it lies, or frames that are encoded already."""
    there = Dataset()
    there.SOPClassUID, there.PatientName, there.PatientID = uid.VLPhotographicImageStorage, "Doe^Jane", "4711"
    bits = 8
    if isinstance(pixels, np.ndarray):
        bits, grey = pixels.itemsize * 8, pixels.ndim == 2
        there.Rows, there.Columns = pixels.shape[:2]
        there.SamplesPerPixel = 1 if grey else 3
        there.PhotometricInterpretation = "MONOCHROME2" if grey else "RGB"
        if not grey:
            there.PlanarConfiguration = 0
        pixels = pixels.tobytes()
    there.BitsAllocated, there.PixelRepresentation = bits, 0
    for keyword, value in elements.items():
        setattr(there, keyword, value)
    there.BitsStored = elements.get("BitsStored", there.BitsAllocated)
    there.HighBit = elements.get("HighBit", there.BitsStored - 1)
    packed = isinstance(pixels, list)
    there.PixelData = encapsulate(pixels) if packed else pixels + b"\0" * (len(pixels) % 2)
    there["PixelData"].VR = "OB" if packed or bits == 8 else "OW"
    there["PixelData"].is_undefined_length = packed
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, there.SOPClassUID
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    there.file_meta = meta
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, there, enforce_file_format=True)
    return buffer.getvalue()


def tripled(grey):
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def high_bits(values, there):
    lowest = -(1 << there.BitsStored - 1) if there.PixelRepresentation else 0
    return values.astype(int) - lowest >> there.BitsStored - 8


def shown(there):
    """Grey values as pydicom's window makes them, brought to 0–255."""
    ends = (-(1 << there.BitsStored - 1), (1 << there.BitsStored - 1) - 1)
    ends = np.array(ends if there.PixelRepresentation else (0, (1 << there.BitsStored) - 1), dtype=float)
    low, high = apply_rescale(ends, there)
    values = apply_windowing(apply_rescale(there.pixel_array, there), there)
    return np.rint((values - low) / (high - low) * 255)


def reference(data):
    there = pydicom.dcmread(BytesIO(data))
    values = pixel_array(BytesIO(data), index=0) if "NumberOfFrames" in there else there.pixel_array
    if there.PhotometricInterpretation == "PALETTE COLOR":
        colours = apply_color_lut(values, there)
        return colours >> 8 if colours.dtype == np.uint16 else colours
    if there.SamplesPerPixel == 1:
        grey = shown(there) if "WindowCenter" in there else high_bits(values, there)
        return tripled(255 - grey if there.PhotometricInterpretation == "MONOCHROME1" else grey)
    if there.PhotometricInterpretation.startswith("YBR_FULL") and there.file_meta.TransferSyntaxUID.is_encapsulated:
        values = pixel_array(BytesIO(data), index=0)  # which converts; dataset.pixel_array does not
    return high_bits(values, there) if there.BitsStored > 8 else values


def same(data, tolerance=0):
    picture, expected = decode(data, min_side=1), reference(data)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert picture.flags.writeable
    assert size(data, min_side=1) == expected.shape[:2]
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).max() <= tolerance
    return True


BUNDLED = (
    "693_J2KI CT_small J2K_pixelrep_mismatch JPEG2000 MR_small MR_small_RLE MR_small_implicit",
    "MR_small_jp2klossless MR_small_padded SC_jpeg_no_color_transform SC_jpeg_no_color_transform_2",
    "SC_rgb_dcmtk_+eb+cr SC_rgb_dcmtk_+eb+cy+n1 SC_rgb_dcmtk_+eb+cy+n2 SC_rgb_dcmtk_+eb+cy+np",
    "SC_rgb_dcmtk_+eb+cy+s2 SC_rgb_dcmtk_+eb+cy+s4 SC_rgb_gdcm_KY SC_rgb_jpeg_app14_dcmd SC_rgb_jpeg_dcmd",
    "SC_rgb_jpeg_dcmtk SC_rgb_jpeg_lossy_gdcm SC_rgb_rle SC_rgb_rle_16bit SC_rgb_rle_16bit_2frame",
    "SC_rgb_rle_2frame SC_rgb_small_odd SC_rgb_small_odd_jpeg examples_jpeg2k examples_overlay examples_palette",
    "examples_rgb_color examples_ybr_color",
)


def bundled(name):
    with open(get_testdata_file(name, download=False), "rb") as file:
        return file.read()


@pytest.mark.parametrize("name", " ".join(BUNDLED).split())
def test_files_of_cameras_archives_and_other_toolkits_equal_pydicoms(name):
    assert same(bundled(f"{name}.dcm"))


def test_uncompressed_ybr_422_equals_pydicoms_but_for_rounding():
    data = bundled("SC_ybr_full_422_uncompressed.dcm")
    expected = pixel_array(BytesIO(data))
    assert np.abs(decode(data).astype(int) - expected).max() == 1


def test_colours_pixel_by_pixel_plane_by_plane_and_of_16_bits():
    picture = photograph()
    np.testing.assert_array_equal(decode(written(picture)), picture)
    np.testing.assert_array_equal(decode(written(picture, uid.ImplicitVRLittleEndian)), picture)
    planes = written(np.ascontiguousarray(picture.transpose(2, 0, 1)).reshape(picture.shape), PlanarConfiguration=1)
    np.testing.assert_array_equal(decode(planes), picture)
    deep = np.random.default_rng(0).integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    np.testing.assert_array_equal(decode(written(deep)), deep >> 8)
    assert same(written(deep & 0xFFF, BitsStored=12))
    ybr = written(picture, PhotometricInterpretation="YBR_FULL")
    assert np.abs(decode(ybr).astype(int) - pixel_array(BytesIO(ybr))).max() <= 1


GREY = np.random.default_rng(0).integers(0, 4096, (40, 50), dtype=np.uint16)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "elements",
    [
        {"BitsStored": 12},
        {"BitsStored": 12, "HighBit": 11, "WindowCenter": 1000, "WindowWidth": 700},
        {"BitsStored": 12, "WindowCenter": [900, 5], "WindowWidth": [301, 9], "VOILUTFunction": "LINEAR_EXACT"},
        {"BitsStored": 12, "WindowCenter": "1e3", "WindowWidth": 400, "VOILUTFunction": "SIGMOID"},
        {"BitsStored": 12, "WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": "0.5", "RescaleIntercept": -1024},
        {"BitsStored": 12, "PixelRepresentation": 1, "WindowCenter": -100, "WindowWidth": 1000},
        {"BitsStored": 12, "PixelRepresentation": 1},
        {"BitsStored": 12, "WindowCenter": 1000, "WindowWidth": 1},
    ],
    ids=lambda elements: " ".join(map(str, elements.values())),
)
def test_grey_of_12_bits_with_and_without_a_window_equals_pydicoms(photometric, elements):
    assert same(written(GREY, PhotometricInterpretation=photometric, **elements))


def test_grey_of_8_bits_is_as_it_stands_or_inverted():
    grey = photograph()[..., 0]
    np.testing.assert_array_equal(decode(written(grey)), tripled(grey))
    np.testing.assert_array_equal(decode(written(grey, PhotometricInterpretation="MONOCHROME1")), tripled(255 - grey))


def test_bits_beside_the_sample_do_not_show():
    above = GREY | np.uint16(0xA000)  # an overlay, as old files have it
    np.testing.assert_array_equal(decode(written(above, BitsStored=12)), tripled(GREY >> 4))
    below = GREY << 2 | 3
    np.testing.assert_array_equal(decode(written(below, BitsStored=12, HighBit=13)), tripled(GREY >> 4))
    few = GREY.astype(np.uint8) & 15
    np.testing.assert_array_equal(decode(written(few, BitsStored=4)), tripled(few * 17))


@pytest.mark.parametrize("depth, first", [(8, 0), (16, 0), (8, 3), (16, 200)])
def test_a_palette_equals_pydicoms(depth, first):
    rng = np.random.default_rng(1)
    entries = {
        f"{colour}PaletteColorLookupTable{kind}": value
        for colour in ("Red", "Green", "Blue")
        for kind, value in (
            ("Descriptor", [128, first, depth]),
            ("Data", rng.integers(0, 1 << depth, 128).astype(f"u{depth // 8}").tobytes()),
        )
    }
    index = photograph()[..., 0]
    assert same(written(index, PhotometricInterpretation="PALETTE COLOR", **entries))
    assert same(written(index, uid.ImplicitVRLittleEndian, PhotometricInterpretation="PALETTE COLOR", **entries))


SHAPE = {"Rows": 90, "Columns": 120, "SamplesPerPixel": 3, "PlanarConfiguration": 0}
YBR = {**SHAPE, "PhotometricInterpretation": "YBR_FULL_422"}


def test_a_jpeg_inside_is_decoded_as_one_outside_and_may_come_smaller():
    jpeg = encoded(photograph(400, 600), quality=90)
    data = written([jpeg], uid.JPEGBaseline8Bit, **YBR | {"Rows": 400, "Columns": 600})
    assert same(data, tolerance=1)
    for at_least in (None, 200, 100, 51, 1):
        np.testing.assert_array_equal(decode(data, at_least=at_least), decode(jpeg, at_least=at_least))


def test_orientation_of_the_jpeg_inside_means_nothing():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = written([encoded(photograph(), exif=exif)], uid.JPEGBaseline8Bit, **YBR)
    assert size(data) == (90, 120)
    np.testing.assert_array_equal(decode(data), decode(encoded(photograph())))


def test_without_markers_the_dicom_header_tells_the_colours_of_a_jpeg():
    def bare(jpeg):  # without its JFIF segment
        return jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]

    buffer = BytesIO()
    Image.frombytes("YCbCr", (120, 90), photograph().tobytes()).save(buffer, "JPEG", quality=95, subsampling=0)
    untransformed = bare(buffer.getvalue())  # RGB samples that were never transformed
    data = written([untransformed], uid.JPEGBaseline8Bit, **SHAPE | {"PhotometricInterpretation": "RGB"})
    assert same(data)
    assert np.abs(decode(data).astype(int) - photograph()).mean() < 3
    data = written([bare(encoded(photograph(), subsampling=0))], uid.JPEGBaseline8Bit, **YBR)
    assert same(data, tolerance=1)


def test_grey_jpeg_and_jpeg_2000_of_8_and_12_bits():
    grey = photograph()[..., 0]
    one = {"Rows": 90, "Columns": 120, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME1"}
    jpeg = encoded(grey)
    np.testing.assert_array_equal(decode(written([jpeg], uid.JPEGBaseline8Bit, **one)), 255 - decode(jpeg))
    for options in ({}, {"WindowCenter": 100, "WindowWidth": 50}):
        assert same(written([jpeg], uid.JPEGBaseline8Bit, **one, **options))
        assert same(written([encoded(grey, "JPEG2000", no_jp2=True)], uid.JPEG2000Lossless, **one, **options))
    one = {"Rows": 40, "Columns": 50, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    deep = GREY << 4  # Pillow writes 16 bits
    data = written([encoded(deep, "JPEG2000", no_jp2=True)], uid.JPEG2000Lossless, BitsAllocated=16, **one)
    assert same(data)
    np.testing.assert_array_equal(decode(data), tripled(deep >> 8))


def test_colour_jpeg_2000_and_one_in_its_own_boxes():
    for no_jp2 in (True, False):
        frame = encoded(photograph(), "JPEG2000", no_jp2=no_jp2)
        data = written([frame], uid.JPEG2000Lossless, **SHAPE, PhotometricInterpretation="YBR_RCT")
        np.testing.assert_array_equal(decode(data), photograph())


def test_several_frames_stand_for_the_first():
    frames = [photograph(seed=i) for i in range(3)]
    data = written(np.concatenate(frames), Rows=90, NumberOfFrames=3)
    np.testing.assert_array_equal(decode(data), frames[0])
    jpegs = [encoded(frame, quality=95) for frame in frames]
    data = written(jpegs, uid.JPEGBaseline8Bit, **YBR, NumberOfFrames=3)
    np.testing.assert_array_equal(decode(data), decode(jpegs[0]))
    assert first_frame(data) == jpegs[0]
    offsets = data.index(struct.pack("<HHI", 0xFFFE, 0xE000, 12))
    data = data[: offsets + 4] + bytes(4) + data[offsets + 20 :]  # without the table of offsets
    np.testing.assert_array_equal(decode(data), decode(jpegs[0]))
    assert first_frame(data) == jpegs[0]
    runs = bundled("SC_rgb_rle_2frame.dcm")
    table = runs.index(ITEM.pack(0xFFFE, 0xE000, 8))
    without = runs[: table + 4] + bytes(4) + runs[table + 16 :]
    assert 0 < len(first_frame(without)) == len(first_frame(runs)) < len(runs) // 3
    np.testing.assert_array_equal(decode(without), decode(runs))


def first_frame(data):
    return dicom.first_frame(data, dicom.read_stored(data)).removesuffix(b"\0")


def test_one_frame_in_many_fragments_is_joined():
    jpeg = encoded(photograph())
    parts = [jpeg[at : at + 1000] for at in range(0, len(jpeg), 1000)]
    packed = ITEM.pack(0xFFFE, 0xE000, 0) + b"".join(ITEM.pack(0xFFFE, 0xE000, len(p)) + p for p in parts)
    whole = written([jpeg], uid.JPEGBaseline8Bit, **YBR)
    start = dicom.read_stored(whole).at
    np.testing.assert_array_equal(decode(whole[:start] + packed + ITEM.pack(0xFFFE, 0xE0DD, 0)), decode(jpeg))


def test_a_file_that_also_begins_as_tiff_is_dicom():
    data = bundled("CT_small.dcm")
    assert data[:4] == b"II*\0"
    assert size(data) == (128, 128)


def test_importing_pictures_imports_no_extra_and_nothing_of_a_patient_is_read():
    program = (
        "import sys, dermis.pictures, dermis.pictures.decode, dermis.cases.catalogue;"
        "print({'pydicom', 'pillow_heif'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "set()\n"
    assert "PatientID" not in dicom.read_stored(written(photograph())).tags


def test_without_pydicom_the_extra_is_named(monkeypatch):
    data = written(photograph())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for ask in (size, decode):
        with pytest.raises(PictureError, match=r"pip install 'dermis\[dicom\]'"):
            ask(data)
