"""DICOM files that are damaged, or lie: each is read, or refused in one sentence, cheaply and soon."""

import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset

from dermis.pictures import PictureError, dicom
from dermis.pictures.decode import decode, size
from tests.pictures.conftest import changed, changes, picture_or_sentence
from tests.pictures.test_dicom import GREY, ITEM, SHAPE, YBR, bundled, encoded, photograph, written

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, on damaged elements

EXPLICIT, RGB = b"1.2.840.10008.1.2.1\0", SHAPE | {"PhotometricInterpretation": "RGB"}
JPEG_2000 = encoded(photograph(), "JPEG2000", no_jp2=True)
UNDEFINED = 0xFFFFFFFF


def element(group, number, vr, length):
    return struct.pack("<HH2sHI", group, number, vr, 0, length)


def with_header(middle):
    """A file with ``middle`` between its meta information and its elements."""
    data = written(photograph())
    at = data.index(struct.pack("<HH2s", 0x0008, 0x0016, b"UI"))
    return data[:at] + middle + data[at:]


def deflated(unpacked):
    data = written(photograph())
    at = data.index(struct.pack("<HH2s", 0x0008, 0x0016, b"UI"))
    meta = data[:at].replace(b"UI\x14\x00" + EXPLICIT, b"UI\x16\x001.2.840.10008.1.2.1.99")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return meta + packer.compress(unpacked) + packer.flush()


def nested():
    """9,000 sequences in items of sequences, none of which says its length."""
    return with_header((element(0x0008, 0x1140, b"SQ", UNDEFINED) + ITEM.pack(0xFFFE, 0xE000, UNDEFINED)) * 9000)


def jpeg(frame, **elements):
    return written([frame], uid.JPEGBaseline8Bit, **YBR | elements)


def jpeg_2000(frame, **elements):
    return written([frame], uid.JPEG2000, **RGB | elements)


def packed(items):
    """A JPEG's header of DICOM with ``items`` after an empty table of offsets instead of its own."""
    data = jpeg(encoded(photograph()))
    return data[: dicom.read_stored(data).at] + ITEM.pack(0xFFFE, 0xE000, 0) + items


REFUSED = {
    "two bytes short": (written(photograph())[:-2], "its pixels have 32,398 bytes of 32,400"),
    "half": (written(photograph())[:9000], "truncated or damaged DICOM: its pixels have"),
    "more rows": (written(photograph(), Rows=9000), "its pixels have 32,400 bytes of 3,240,000"),
    "bomb": (written(photograph(), Rows=65535, Columns=65535), "DICOM header says 65,535 × 65,535 pixels; at most"),
    "strip": (written(photograph(), Rows=9, Columns=65535), "a side has at most 100 times the other's"),
    "point": (written(photograph(), Rows=1, Columns=1), "says 1 × 1 pixels; a side has at least 8"),
    "JPEG of another size": (jpeg(encoded(photograph(80, 120))), "data are JPEG of 120 × 80 pixels"),
    "half a JPEG": (jpeg(encoded(photograph())[:2000]), "truncated or damaged JPEG: Premature end"),
    "a PNG for a JPEG": (jpeg(encoded(photograph(), "PNG")), "data are PNG of"),
    "scans": (
        jpeg(encoded(photograph(), progressive=True)[:-2] + b"\xff\xda" * 300 + b"\xff\xd9"), "more than 200 scans",
    ),
    "JPEG 2000 of another size": (
        jpeg_2000(encoded(photograph(80, 120), "JPEG2000")), "data have 120 × 80 pixels, its header others",
    ),
    "half a JPEG 2000": (jpeg_2000(JPEG_2000[:300]), "truncated or damaged DICOM"),
    "huge JPEG 2000": (jpeg_2000(b"\xff\x4f", Rows=9000, Columns=9000), "of those at most 50,000,000 pixels are read"),
    "colours for grey": (
        jpeg_2000(JPEG_2000, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2"), "a pixel, its header 1",
    ),
    "half the pixels": (jpeg(encoded(photograph()))[:-2000], "the file ends within its pixels"),
    "pieces": (packed(ITEM.pack(0xFFFE, 0xE000, 0) * 30_000), "pixels lie in more than 20,000 pieces"),
    "no frame": (written([], uid.JPEGBaseline8Bit, **YBR), "its DICOM pixels have no frame"),
    "run lengths of others": (
        written([struct.pack("<16I", 2, *[64] * 15)], uid.RLELossless, **RGB), "2 segments of run lengths",
    ),
    "big endian": (bundled("ExplVR_BigEnd.dcm"), "transfer syntax is Explicit VR Big Endian; read are"),
    "JPEG lossless": (bundled("SC_rgb_jpeg_gdcm.dcm"), "transfer syntax is JPEG Lossless, Non-Hierarchical"),
    "JPEG-LS": (bundled("JPEGLSNearLossless_08.dcm"), "transfer syntax is JPEG-LS Lossy (Near-Lossless)"),
    "12-bit JPEG": (bundled("JPGExtended.dcm"), "it is a 12-bit JPEG; only 8 bit are read"),
    "deflated": (bundled("image_dfl.dcm"), "transfer syntax is Deflated Explicit VR Little Endian"),
    "unheard of": (
        written(photograph()).replace(EXPLICIT, b"1.2.840.10008.9.\n.1\0"), "syntax is '1.2.840.10008.9.\\n.1'",
    ),
    "unheard of, and a line after it": (
        written(photograph()).replace(EXPLICIT, b"1.2.840.10008.\n.91\n\0"), "syntax is '1.2.840.10008.\\n.91\\n'",
    ),
    "a number that runs on": (
        written(photograph()).replace(b"UI\x14\x00" + EXPLICIT, b"UI\xff\x00" + EXPLICIT),
        "syntax is '1.2.840.10008.1.2.1\\x00",
    ),
    "32 bits": (bundled("rtdose_1frame.dcm"), "it has 32-bit samples"),
    "1 bit": (bundled("liver_1frame.dcm"), "it has 1-bit samples"),
    "a report": (bundled("reportsi.dcm"), "a DICOM file without a picture"),
    "no syntax": (bundled("meta_missing_tsyntax.dcm"), "names no transfer syntax"),
    "HSV": (written(photograph(), PhotometricInterpretation="HSV"), "pixels are 'HSV' (uncompressed), which is not"),
    "samples": (written(photograph(), PhotometricInterpretation="MONOCHROME2"), "contradicts itself: 3 samples"),
    "bits": (written(GREY, BitsStored=12, HighBit=16), "12 of 16 bits up to number 16"),
    "window": (written(GREY, WindowCenter=1, WindowWidth=0), "window is 0.0 wide and 'LINEAR'"),
    "no palette": (written(photograph()[..., 0], PhotometricInterpretation="PALETTE COLOR"), "palette is missing or"),
    "table": (written(GREY, VOILUTSequence=[Dataset()]), "through a look-up table of DICOM"),
    "422 of 121": (written(photograph(90, 121), PhotometricInterpretation="YBR_FULL_422"), "halves their 121 columns"),
    "nested": (nested(), "DICOM header is truncated or damaged"),
    "not packed": (written(photograph()).replace(EXPLICIT, b"1.2.840.10008.1.2.5\0"), "pixels should be RLE"),
    "packed": (jpeg(JPEG_2000).replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.1\0\0\0"), "be uncompressed"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_sentence(name):
    data, sentence = REFUSED[name]
    for at_least in (None, 16):
        with pytest.raises(PictureError) as error:
            decode(data, at_least=at_least)
        assert sentence in str(error.value)
        assert str(error.value).endswith(".")
        assert "\n" not in str(error.value)
        assert "Doe" not in str(error.value)


LIES = ("more rows", "bomb", "huge JPEG 2000", "JPEG of another size", "nested", "deflated bomb", "values", "offsets")


@pytest.mark.parametrize("name", LIES)
def test_lies_about_size_cost_no_memory(name):
    if name == "deflated bomb":
        data = deflated(bytes(300_000_000))
    elif name == "offsets":  # of 10 million frames that are not there
        data = packed(b"")[:-8] + ITEM.pack(0xFFFE, 0xE000, 40_000_000) + bytes(40_000_000)
    elif name == "values":
        data = with_header(element(0x0028, 0x1201, b"OW", 0xFFFFFFF0))
    else:
        data = REFUSED[name][0]
    tracemalloc.start()
    with pytest.raises(PictureError):
        decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_header_that_is_walked_again_and_again_is_given_up_soon():
    """Each element's items lead a parser to the far end and through many items there, before it looks nearer."""
    far, one, count = ITEM.pack(0xFFFE, 0xE000, 0) * 20_000, element(0x0009, 0x1001, b"OB", UNDEFINED), 2000
    length = len(one) + 16
    elements = b"".join(
        one + ITEM.pack(0xFFFE, 0xE000, (count - i) * length - len(one) - 8) + ITEM.pack(0xFFFE, 0xE0DD, 0)
        for i in range(count)
    )
    began = time.perf_counter()
    with pytest.raises(PictureError, match="more elements than"):
        size(with_header(elements + far))
    assert time.perf_counter() - began < 10


SMALL = [
    written(photograph(24, 32)),
    written(photograph(24, 32), uid.ImplicitVRLittleEndian, PlanarConfiguration=1),
    written(GREY, BitsStored=12, WindowCenter=1000, WindowWidth=700),
    jpeg(encoded(photograph(24, 32)), Rows=24, Columns=32),
    jpeg_2000(encoded(photograph(24, 32), "JPEG2000", no_jp2=True), Rows=24, Columns=32),
    bundled("MR_small_RLE.dcm"),
    bundled("SC_ybr_full_422_uncompressed.dcm"),
]


@pytest.mark.parametrize("data", SMALL, ids=range(len(SMALL)))
def test_a_file_cut_anywhere_is_refused(data):
    whole, start = decode(data), dicom.read_stored(data).at
    for end in (*range(133, start, 3), *range(start, len(data), max(1, (len(data) - start) // 60))):
        cut = picture_or_sentence(data[:end])
        assert cut is None or np.array_equal(cut, whole)  # what is missing was not the picture's


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.sampled_from(SMALL),
    changes(1, 6),
    st.booleans(),
)
def test_whatever_bytes_are_changed_a_picture_comes_or_a_picture_error(data, flips, in_header):
    end = dicom.read_stored(data).at if in_header else len(data)
    picture_or_sentence(changed(data, flips, 132, end))
