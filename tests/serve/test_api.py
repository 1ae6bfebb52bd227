"""What the API answers is what the library answers for the same pictures; what it cannot answer is a sentence."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import dermis
from dermis.cases.seven_point import POINTS
from dermis.explain import explain
from dermis.serve.app import create
from dermis.serve.service import Service
from dermis.serve.settings import Settings

NAMES = ["melanoma", "nevus", "psoriasis"]


@pytest.fixture(scope="module")
def two(two_tower):
    model, embeddings = two_tower
    with TestClient(create(Settings(model=str(model), embeddings=str(embeddings), thumbnails=True))) as client:
        yield client


@pytest.fixture(scope="module")
def both(pair):
    with TestClient(create(Settings(model=str(pair)))) as client:
        yield client


@pytest.fixture(scope="module")
def writer(speaking):
    with TestClient(create(Settings(model=str(speaking)))) as client:
        yield client


@pytest.fixture(scope="module")
def case(tiny_cases):
    """The first test case's row and its two pictures as they are sent."""
    _, cases = tiny_cases
    row = int(np.flatnonzero(cases.table["split"] == "test")[0])
    paths = {column: cases.root / cases.table[column].iloc[row] for column in ("image", "dermoscopy")}
    return row, paths, {column: (path.name, path.read_bytes()) for column, path in paths.items()}


def image(case):
    return {"image": case[2]["image"]}


def test_it_says_what_it_can_do(two, both, writer, two_tower):
    told, pair, speaks = (client.get("/v1/model").json() for client in (two, both, writer))
    assert (told["pictures"], pair["pictures"]) == (["image"], ["dermoscopy", "image"])
    assert told["promise"] == pytest.approx(0.8)
    assert set(told["classes"]) == set(NAMES)
    assert told["searched_cases"] == 120
    assert told["card"] == (two_tower[0] / "README.md").read_text()
    can = told["can"]
    assert all(can[name] for name in ("decide", "classify_names", "search", "search_text", "concepts", "embed_text"))
    assert not any(can[name] for name in ("labels", "checklist", "generate", "dialogue"))
    assert pair["can"]["checklist"]
    assert not pair["can"]["classify_names"]
    assert speaks["can"]["generate"]
    assert speaks["can"]["dialogue"]


def test_it_decides_as_the_library_does(two, two_tower, case):
    said = two.post("/v1/classify", files=image(case)).json()
    meant = dermis.decide(two_tower[0], case[1]["image"])
    assert said["source"] == "decision"
    assert [one["name"] for one in said["probabilities"]] == list(meant.probabilities)
    found = [one["probability"] for one in said["probabilities"]]
    assert found == pytest.approx(list(meant.probabilities.values()), abs=1e-5)
    assert said["possible"] == list(meant.possible)
    assert (said["sure"], said["why"]) == (meant.sure, meant.why)
    assert said["ood"] == pytest.approx(meant.ood)


def test_it_compares_the_callers_names_as_the_library_does(two, two_tower, case):
    template = "A photograph of {}."
    said = two.post("/v1/classify", files=image(case), data={"names": NAMES, "template": template}).json()
    meant = dermis.classify(dermis.load(two_tower[0]), case[1]["image"], NAMES, template)
    assert said["source"] == "names"
    assert said["possible"] is None
    found = {one["name"]: one["probability"] for one in said["probabilities"]}
    assert list(found) == list(meant)
    assert list(found.values()) == pytest.approx(list(meant.values()), abs=1e-5)


@pytest.mark.parametrize("text", [None, "a dark spot"])
def test_it_finds_the_cases_that_the_library_finds(two, two_tower, case, text):
    data = {"k": 5, "where": ["diagnosis!=nevus"]} | ({"text": text, "text_weight": 0.25} if text else {})
    hits = two.post("/v1/search", files=image(case), data=data).json()["hits"]
    weight = 0.25 if text else None
    meant = dermis.nearest_cases(
        two_tower[1], picture=case[1]["image"], text=text, text_weight=weight, where=["diagnosis!=nevus"], k=5
    )
    assert [hit["case_id"] for hit in hits] == meant["case_id"].tolist()
    assert [hit["cosine"] for hit in hits] == pytest.approx(meant["cosine"].tolist(), abs=1e-5)
    assert [hit["columns"]["diagnosis"] for hit in hits] == meant["diagnosis"].tolist()


def test_small_pictures_of_found_cases_show_them(two, case, tiny_cases):
    _, cases = tiny_cases
    hit = two.post("/v1/search", files=image(case), data={"k": 1}).json()["hits"][0]
    answer = two.get(hit["thumbnails"]["image"])
    assert answer.headers["content-type"] == "image/jpeg"
    path = cases.root / cases.table.set_index("case_id")["image"][hit["case_id"]]
    shown, meant = np.asarray(Image.open(BytesIO(answer.content)), float), np.asarray(Image.open(path), float)
    assert shown.shape == meant.shape
    assert np.abs(shown - meant).mean() < 12
    assert two.get("/v1/cases/120/image").status_code == 404
    assert two.get("/v1/cases/0/dermoscopy").status_code == 404


def test_its_maps_are_the_librarys(two, two_tower, case):
    maps = two.post("/v1/explain", files=image(case), data={"texts": ["melanoma", "nevus"]}).json()["maps"]
    picture = np.asarray(Image.open(case[1]["image"]).convert("RGB"))
    meant = explain(dermis.load(two_tower[0]), picture, ["melanoma", "nevus"])
    assert [one["about"] for one in maps] == ["melanoma", "nevus"]
    for one, other in zip(maps, meant, strict=True):
        np.testing.assert_allclose(one["values"], other.values, atol=1e-4)
        assert one["box"] == pytest.approx(other.box)
    drawn = Image.open(BytesIO(base64.b64decode(maps[0]["overlay"].removeprefix("data:image/png;base64,"))))
    assert drawn.size == (picture.shape[1], picture.shape[0])
    bare = two.post("/v1/explain", files=image(case), data={"kind": "rollout", "overlay": "false"}).json()["maps"]
    assert [(one["kind"], one["about"], one["overlay"]) for one in bare] == [("rollout", "", None)]


def test_its_concepts_are_ordered_scores(two, case):
    found = two.post("/v1/concepts", files=image(case)).json()["concepts"]
    scores = [one["score"] for one in found]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] <= scores[0] <= 1
    assert len({one["name"] for one in found}) == len(found) > 20


def test_its_checklist_is_the_librarys(both, pair, case):
    paths = case[1]
    said = both.post("/v1/checklist", files=case[2], data={"rule": "revised"}).json()
    labels = dermis.predict_labels(dermis.load(pair), **paths)
    meant = dermis.read_checklist(labels, "revised")
    assert {one["name"] for one in said["criteria"]} == set(POINTS)
    assert {one["name"]: one["probability"] for one in said["criteria"]} == pytest.approx(meant.criteria, abs=1e-5)
    assert {one["name"] for one in said["criteria"] if one["counted"]} == set(meant.counted)
    assert sum(one["points"] for one in said["criteria"] if one["counted"]) == said["score"]
    assert (said["score"], said["suspected"], said["threshold"]) == (meant.score, meant.suspected, meant.threshold)
    assert said["suspicion"] == pytest.approx(meant.suspicion, abs=1e-5)
    found = both.post("/v1/labels", files=case[2]).json()["labels"]
    assert {one["name"]: [c["name"] for c in one["probabilities"]] for one in found} == {
        name: list(said) for name, said in labels.items()
    }


@pytest.mark.parametrize("dialogue", [None, "Patient: It itches."])
def test_it_writes_what_the_library_writes(writer, speaking, case, dialogue):
    said = writer.post("/v1/generate", files=image(case), data={"dialogue": dialogue} if dialogue else {}).json()
    assert said["text"] == dermis.generate(dermis.load(speaking), case[1]["image"], dialogue)


def test_its_vectors_are_the_librarys(two, both, two_tower, pair, case):
    model = dermis.load(two_tower[0])
    said = two.post("/v1/embed", files=image(case)).json()
    assert (said["dim"], said["space"]) == (24, "projected")
    meant = dermis.encode_pictures(model, [case[1]["image"]], normalize=False)[0]
    np.testing.assert_allclose(said["embedding"], meant, atol=1e-4)
    said = two.post("/v1/embed", data={"text": "a dark spot"}).json()
    np.testing.assert_allclose(
        said["embedding"], dermis.encode_texts(model, ["a dark spot"], normalize=False)[0], atol=1e-4
    )
    assert both.post("/v1/embed", files=case[2]).json()["space"] == "trunk"


@pytest.mark.parametrize(
    ("path", "data", "status", "code", "said"),
    [
        ("labels", {}, 404, "cannot", "was taught no labels"),
        ("checklist", {}, 404, "cannot", "seven criteria"),
        ("generate", {}, 404, "cannot", "says no texts"),
        ("classify", {"names": ["a", ""]}, 422, "field", "names.1"),
        ("classify", {"names": ["a"], "template": "no place"}, 400, "request", "must hold {} exactly once"),
        ("classify", {"names": ["a", "b", "a"]}, 400, "request", "'a' is there 2 times"),
        ("search", {"k": 0}, 422, "field", "k"),
        ("search", {"where": ["diagnosis~x"]}, 400, "request", "unknown operator"),
        ("search", {"where": ["patient.ages=3"]}, 400, "request", "patient.age"),
        ("search", {"text_weight": 0.3}, 400, "request", "text_weight has no effect"),
        ("search", {"text": "   "}, 400, "request", "empty"),
        ("explain", {"kind": "saliency"}, 422, "field", "similarity"),
        ("explain", {"kind": "similarity"}, 400, "request", "text"),
        ("embed", {"text": "both"}, 400, "request", "pictures, or a text"),
    ],
)
def test_what_cannot_be_is_a_sentence(two, case, path, data, status, code, said):
    answer = two.post(f"/v1/{path}", files=image(case), data=data)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert said in error["message"]


def test_what_is_advised_instead_is_something_that_the_model_can(both, writer, pair, case, monkeypatch):
    def refused(client, files, **data):
        answer = client.post("/v1/classify", files=files, data=data)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "cannot")
        return answer.json()["error"]["message"]

    neither = "it classifies after `dermis calibrate`, without names."
    assert refused(both, case[2]) == f"this model has no calibrated decision: {neither}"
    assert refused(both, case[2], names=NAMES) == f"this model knows no texts, so no names: {neither}"
    assert refused(writer, image(case)) == "this model has no calibrated decision: send names to compare."
    monkeypatch.setattr(Service, "can", {"classify_names": False, "decide": True})
    with TestClient(create(Settings(model=str(pair)))) as client:
        assert refused(client, case[2], names=NAMES) == "this model knows no texts, so no names: leave the names out."


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        (
            {"image": ("a.jpg", b"no picture at all")},
            "picture",
            "it is text (begins with b'no picture at all'); send JPEG, PNG, TIFF, WebP, BMP, GIF, HEIC.",
        ),
        ({"image": ("a.jpg", b"")}, "picture", "zero bytes"),
        ({}, "request", "looks at image; given: no picture"),
        ({"dermoscopy": ("a.jpg", b"x")}, "request", "looks at image; given: dermoscopy"),
    ],
)
def test_what_is_no_case_is_a_sentence(two, files, code, said):
    answer = two.post("/v1/classify", files=files or None, data={"names": NAMES})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert said in answer.json()["error"]["message"]


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(two_tower, case):
    with TestClient(create(Settings(model=str(two_tower[0]), max_pixels=96 * 96 - 1))) as client:
        answer = client.post("/v1/embed", files=image(case))
        assert answer.status_code == 400
        assert "at most 9,215 pixels are read" in answer.json()["error"]["message"]
        missing = client.post("/v1/search", files=image(case))
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "cannot")
        assert client.get("/v1/cases/0/image").status_code == 404


def test_what_is_not_there_is_an_error_of_the_same_shape(two):
    assert two.get("/v1/nothing").json()["error"]["code"] == "http"
    answer = two.put("/v1/classify")
    assert (answer.status_code, answer.json()["error"]["message"]) == (405, "Method Not Allowed")


def test_a_mistake_of_ours_is_no_fault_of_the_request(two_tower, case, monkeypatch):
    def broken(self, cases):
        raise ValueError("a mistake")

    monkeypatch.setattr(Service, "see", broken)
    with TestClient(create(Settings(model=str(two_tower[0])))) as client:
        answer = client.post("/v1/embed", files=image(case))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "failed")
    assert "mistake" not in answer.text


def test_the_page_is_served_with_its_files(two):
    page = two.get("/")
    assert "<html" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert two.get("/page/page.css").status_code == 200
    assert two.get("/page/../app.py").status_code == 404


def test_counts_are_of_routes_and_nothing_else(two, case):
    two.post("/v1/embed", files={"image": ("mrs-smith.png", case[2]["image"][1])})
    counts = two.get("/metrics").text
    assert 'dermis_requests_total{route="/v1/embed",status="200"}' in counts
    assert "dermis_batch_size_bucket" in counts
    assert "smith" not in counts
