"""Whatever is sent, an answer comes that the API's description has, or a refusal in its shape; never a failure of ours.

What is drawn is the same in every run (``derandomize``). Ten thousand uploads to one service, and what they do to its
memory: ``benchmarks/serve_fuzz.py``.
"""

import struct
import zlib
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from dermis.serve.app import create
from dermis.serve.settings import Settings

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = pytest.mark.parametrize("examples", [8, pytest.param(400, marks=pytest.mark.slow)])
SAME = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def encoded(mode="RGB", file="JPEG", size=(40, 48), **options):
    """A small picture of noise as a file."""
    noise_HWC = np.random.default_rng(0).integers(0, 255, (*size, 4), np.uint8)
    deep = mode == "I;16"
    picture = Image.fromarray(noise_HWC.view(np.uint16)[..., 0] if deep else noise_HWC).convert(mode)
    out = BytesIO()
    picture.save(out, file, **options)
    return out.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


PICTURES = [
    encoded(),
    encoded(progressive=True),
    encoded("CMYK"),
    encoded("L", exif=turned(6)),
    encoded("RGBA", "PNG", exif=turned(3)),
    encoded("I;16", "PNG"),
    encoded("P", "PNG", transparency=0),
    encoded("RGB", "WebP", exif=turned(8)),
    encoded("RGBA", "WebP", lossless=True),
    encoded("RGB", "TIFF", compression="tiff_adobe_deflate"),
    encoded("CMYK", "TIFF", compression="jpeg"),
    encoded("I;16", "TIFF"),
    encoded("P", "GIF", save_all=True, append_images=[Image.new("P", (48, 40))]),
    encoded("RGB", "BMP"),
    encoded("1", "BMP"),
]
HEADERS = [b"\xff\xff", b"\0\0\0\0", b"\0\0\x75\x30", b"\x30\x75\0\0", b"\xff\xff\xff\xff", b"\xff\xda", b"Exif\0\0MM"]
"""what is put where a size, a length or a marker may be: 0, the largest, 30,000 in both orders of bytes"""


@st.composite
def spoilt(draw):
    """A picture that has been cut, flipped, overwritten, lengthened or joined with another, up to three times."""
    data = bytearray(draw(st.sampled_from(PICTURES)))
    for _ in range(draw(st.integers(0, 3))):
        near = draw(st.sampled_from([64, len(data)]))  # half of all changes are in the header
        at = draw(st.integers(0, max(0, min(near, len(data)) - 1)))
        kind = draw(st.sampled_from(["cut", "flip", "overwrite", "insert", "repeat", "splice"]))
        if kind == "cut":
            del data[at : at + draw(st.sampled_from([1, 2, 40, len(data)]))]
        elif kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "overwrite":
            wrong = draw(st.sampled_from(HEADERS) | st.binary(min_size=1, max_size=8))
            data[at : at + len(wrong)] = wrong
        elif kind == "insert":
            data[at:at] = draw(st.sampled_from(HEADERS) | st.binary(max_size=64))
        elif kind == "repeat":
            data[at:at] = data[at : at + 200] * draw(st.integers(1, 20))
        else:
            other = draw(st.sampled_from(PICTURES))
            data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, before=b"", after=b"", rows=None):
    """A black PNG, with other chunks before and after its header, and so many rows of data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    data = zlib.compress(bytes(1 + -(-width // 8)) * (height if rows is None else rows))
    return b"\x89PNG\r\n\x1a\n" + before + header + after + chunk(b"IDAT", data) + chunk(b"IEND", b"")


SMALL = struct.pack(">IIBBBBB", 64, 64, 1, 0, 0, 0, 0)
LARGE_GIF = encoded("P", "GIF", size=(600, 600))
BOMBS = {
    "30,000 by 30,000 pixels": (png(30_000, 30_000, rows=1), "at most 250,000 pixels are read"),
    "a lie where the size is read": (png(600, 600, before=chunk(b"teSt", SMALL)), "header"),
    "two headers": (png(600, 600, before=chunk(b"IHDR", SMALL)), "header"),
    "a frame beyond its screen": (LARGE_GIF[:6] + struct.pack("<HH", 64, 64) + LARGE_GIF[10:], "header"),
    "a strip": (png(8, 30_000), "side"),
    "a text of 100 MB": (png(64, 64, after=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))), "large"),
}


@pytest.fixture(scope="module")
def client(two_tower):
    model, embeddings = two_tower
    chosen = Settings(model=str(model), embeddings=str(embeddings), max_pixels=250_000)
    with TestClient(create(chosen)) as client:
        yield client


def sent(client, route, data):
    """The answer's message, or None if the picture was read."""
    answer = client.post(f"/v1/{route}", files={"image": ("a.jpg", data)})
    if answer.status_code == 200:
        return None
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "picture"), error
    return error["message"]


def test_spoilt_pictures_are_read_or_refused(client):
    said = Counter()

    @settings(SAME, max_examples=300)
    @given(data=spoilt(), route=st.sampled_from(["embed", "embed", "explain", "search", "classify"]))
    def send(data, route):
        said[sent(client, route, data) is None] += 1

    send()
    assert min(said[True], said[False]) > 50, said


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("route", ["embed", "explain"])
def test_bombs_are_refused(client, name, route):
    data, why = BOMBS[name]
    assert why in (sent(client, route, data) or "it was read")


def reached(service, examples, headers=None):
    """Ask every operation for what the service's OpenAPI allows; what is answered has to be there too. The operations
    that answered 200."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    held = [not_a_server_error, checks.status_code_conformance, checks.content_type_conformance]
    held, found = [*held, checks.response_schema_conformance], set()
    for operation in schemathesis.openapi.from_url(f"{service.url}/openapi.json").get_all_operations():

        @settings(SAME, max_examples=examples)
        @given(case=operation.ok().as_strategy(), picture=st.sampled_from([*PICTURES[::5], None]))
        def ask(case, picture):
            if isinstance(case.body, dict) and picture is not None:  # otherwise the pictures are any bytes, or none
                case.body.pop("dermoscopy", None)
                case.body["image"] = picture
            answer = case.call_and_validate(checks=held, headers=headers, timeout=120)
            if answer.status_code == 200:
                found.add(case.operation.path)

        ask()
    return found


@EXAMPLES
def test_it_answers_as_its_description_says(served, examples):
    found = reached(served, examples)
    assert found >= {f"/v1/{route}" for route in ("model", "classify", "concepts", "search", "explain", "embed")}


@EXAMPLES
def test_with_a_token_too(served_speaking, examples):
    token = (served_speaking.model.parent / "token").read_text()
    found = reached(served_speaking, examples, {"Authorization": f"Bearer {token}"})
    assert found >= {f"/v1/{route}" for route in ("model", "concepts", "generate", "embed")} | {"/metrics"}
    assert reached(served_speaking, 2) == {"/health"}
