"""Nothing of what is sent is written, logged or given back: names of files, texts, EXIF."""

import json
import tempfile
import time
from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from dermis.serve.app import create
from dermis.serve.settings import Settings


def picture(size=64, **how):
    out = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, **{"format": "PNG"} | how)
    return out.getvalue()


def test_a_large_upload_stays_in_memory(two_tower, monkeypatch):
    def rolled(self):
        raise AssertionError("an upload went to the disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rolled)
    large = picture(1200)
    assert len(large) > 3_000_000
    with TestClient(create(Settings(model=str(two_tower[0])))) as client:
        assert client.post("/v1/embed", files={"image": ("x.png", large)}).status_code == 200


def test_the_log_says_what_was_asked_and_not_of_whom(served, tiny_cases):
    given = {"image": ("mrs-smith-1952.jpg", picture())}
    secret = "mrs smith of bath"
    asked = [
        httpx.post(f"{served.url}/v1/classify", files=given),
        httpx.post(f"{served.url}/v1/classify", files=given, data={"names": [secret]}),
        httpx.post(f"{served.url}/v1/search", data={"text": secret}),
        httpx.post(f"{served.url}/v1/search", files=given, data={"where": [f"diagnosis={secret}"]}),
        httpx.post(f"{served.url}/v1/classify", files={"image": ("mrs-smith.jpg", secret.encode())}),
        httpx.get(f"{served.url}/v1/model?name={secret}"),
    ]
    assert [answer.status_code for answer in asked] == [200, 200, 200, 400, 400, 200]
    ids, requests, end = {answer.headers["x-request-id"] for answer in asked}, [], time.monotonic() + 10
    while not ids <= {line["id"] for line in requests} and time.monotonic() < end:  # a line follows its answer
        lines = [line for log in tiny_cases[0].glob("serve-*.log") for line in log.read_text().splitlines()]
        told = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        requests = [line for line in told if line["message"] == "request"]
    assert ids <= {line["id"] for line in requests}
    assert not [line for line in lines if "smith" in line.lower()]
    assert {"time", "level", "id", "method", "route", "status", "ms"} == set(requests[0]) - {"message"}


def test_thumbnails_carry_no_exif(two_tower, tmp_path):
    from dermis.serve.thumbnail import jpeg

    exif = Image.Exif()
    exif[0x010E] = "Mrs Smith"
    (tmp_path / "a.jpg").write_bytes(picture(size=640, format="JPEG", exif=exif))
    assert b"Mrs Smith" in (tmp_path / "a.jpg").read_bytes()
    small = jpeg(tmp_path, "a.jpg")
    assert b"Mrs Smith" not in small
    assert Image.open(BytesIO(small)).size == (320, 320)


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null"])
def test_no_other_site_may_read_an_answer(served, origin):
    answer = httpx.get(f"{served.url}/v1/model", headers={"Origin": origin})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert httpx.options(f"{served.url}/v1/classify", headers=asked).status_code == 405


def test_dicom_is_refused_unread_for_it_names_the_patient(two_tower, caplog):
    data = bytes(128) + b"DICM" + b"Doe^Jane" * 100
    with TestClient(create(Settings(model=str(two_tower[0])))) as client:
        for route in ("embed", "explain"):
            answer = client.post(f"/v1/{route}", files={"image": ("Doe.dcm", data)})
            assert answer.status_code == 400
            assert "it is DICOM, which names the patient; send its picture as PNG or JPEG." in answer.text
            assert "Doe" not in answer.text + caplog.text
