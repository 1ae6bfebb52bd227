"""Nearest cases: pictures, texts and both by hand, whom to leave out, and sentences for what does not fit."""

import numpy as np
import pytest

import dermis
from dermis.model import save
from dermis.model.use import encode_pictures, encode_texts
from dermis.search.embedding import write_embeddings
from dermis.search.nearest import encoder_of, nearest_cases
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches


@pytest.fixture
def made(tiny, manifest, tmp_path):
    """Model folder and embeddings beside each other."""
    save(tmp_path / "model", tiny())
    source = str(tmp_path / "model")
    return write_embeddings(tmp_path / "e", tiny(), manifest, source=source).embeddings


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def by_hand(made, query_D, k):
    cosine_N = unit(made.vectors) @ unit(query_D)
    order = np.argsort(-np.rint(cosine_N * 1e9), kind="stable")[:k]
    return made.cases.table["case_id"][order].tolist(), cosine_N[order]


def assert_hits(hits, expected):
    assert hits["case_id"].tolist() == expected[0]
    np.testing.assert_allclose(hits["cosine"], expected[1], atol=1e-6)
    assert hits["rank"].tolist() == list(range(1, len(hits) + 1))


def test_by_picture(made, manifest, tiny):
    picture = manifest.root / "3.png"
    hits = nearest_cases(made, picture=picture, k=4, leave_out="nothing")
    assert_hits(hits, by_hand(made, encode_pictures(tiny(), [picture])[0], 4))
    assert (hits["case_id"][0], hits["diagnosis"][0], hits["patient_id"][0]) == ("c3", "melanoma", "p2")
    assert hits["image"][0] == str(manifest.root / "3.png")
    assert hits["cosine"][0] == pytest.approx(1)


def test_by_text(made, tiny):
    hits = nearest_cases(made.folder, text="melanoma on the back", k=20)
    assert_hits(hits, by_hand(made, encode_texts(tiny(), ["melanoma on the back"])[0], 20))
    assert len(hits) == 10


def test_by_both(made, manifest, tiny):
    picture, text = manifest.root / "3.png", "melanoma on the back"
    v, t = unit(encode_pictures(tiny(), [picture])[0]), unit(encode_texts(tiny(), [text])[0])
    hits = nearest_cases(made, picture=picture, text=text, k=5, leave_out="nothing")
    assert_hits(hits, by_hand(made, v + t, 5))
    hits = nearest_cases(made, picture=picture, text=text, text_weight=0.9, k=5, leave_out="nothing")
    assert_hits(hits, by_hand(made, 0.1 * v + 0.9 * t, 5))
    only = nearest_cases(made, picture=picture, text=text, text_weight=1, k=10, leave_out="nothing")
    assert only["case_id"].tolist() == nearest_cases(made, text=text)["case_id"].tolist()


def test_by_case_without_the_model(made):
    (made.folder.parent / "model" / "model.safetensors").unlink()
    hits = nearest_cases(made, case="c3", k=3, leave_out="nothing")
    assert_hits(hits, by_hand(made, made.vectors[3], 3))


def test_the_query_itself_and_its_patient_are_left_out(made, manifest):
    every = nearest_cases(made, case="c0", k=10, leave_out="nothing")["case_id"].tolist()
    assert every[:2] == ["c0", "c9"]  # one picture, two cases
    assert nearest_cases(made, case="c0")["case_id"].tolist() == every[2:]
    assert nearest_cases(made, picture=manifest.root / "9.png")["case_id"].tolist() == every[2:]
    kin = nearest_cases(made, case="c0", leave_out="patient")["case_id"].tolist()
    assert kin == [c for c in every if c not in ("c0", "c9", "c1")]  # c1: the other picture of p1
    assert nearest_cases(made, picture=str(manifest.root / "0.png"), leave_out="patient")["case_id"].tolist() == kin
    alone = nearest_cases(made, case="c4", leave_out="patient")["case_id"]  # nobody knows its patient
    assert sorted(alone) == sorted(f"c{i}" for i in range(10) if i != 4)


def test_conditions_hold_for_every_hit(made):
    hits = nearest_cases(made, case="c0", where=["diagnosis=melanoma", "patient.age>=30"])
    assert sorted(hits["case_id"]) == ["c3", "c5", "c8"]
    with pytest.raises(ValueError, match="no case is left to choose from"):
        nearest_cases(made, case="c4", where="case_id=c4")


def test_for_many_queries_the_model_is_read_once(made, manifest, monkeypatch):
    encoder = encoder_of(made)
    monkeypatch.setattr("dermis.search.nearest.load", lambda *_: 1 / 0)
    hits = nearest_cases(made, picture=manifest.root / "3.png", model=encoder, leave_out="nothing")
    assert hits["case_id"][0] == "c3"


def test_folders_that_move_together_find_each_other(made, manifest, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("model", "e", "pictures"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    hits = nearest_cases(tmp_path / "elsewhere" / "e", picture=tmp_path / "elsewhere" / "pictures" / "3.png")
    assert (tmp_path / "elsewhere" / "pictures") in {type(tmp_path)(p).parent for p in hits["image"]}


def test_models_without_texts(manifest, tmp_path):
    pairs = dermis.make_cases(tmp_path / "pairs", cases=4, size=32, seed=4)
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), paired=True), 3)
    made = write_embeddings(tmp_path / "e", model, pairs, source="model").embeddings
    query = {name: pairs.root / pairs.table[name][2] for name in ("image", "dermoscopy")}
    hits = nearest_cases(made, picture=query, model=model, leave_out="nothing")
    assert hits["case_id"][0] == pairs.table["case_id"][2]
    assert hits["dermoscopy"][0] == str(query["dermoscopy"])
    assert len(nearest_cases(made, picture=query, model=model)) == 3
    with pytest.raises(ValueError, match="a text can be searched for only with a model of pictures and texts"):
        nearest_cases(made, text="melanoma", model=model)
    with pytest.raises(ValueError, match="looks at dermoscopy and image; given: a picture of no column"):
        nearest_cases(made, picture=query["image"], model=model)


def test_a_model_of_pictures_alone_that_was_trained_here(manifest, tmp_path):
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), paired=False), 3)
    made = write_embeddings(tmp_path / "e", model, manifest, source="model").embeddings
    hits = nearest_cases(made, picture=manifest.root / "3.png", model=model, leave_out="nothing")
    assert hits["case_id"][0] == "c3"


@pytest.mark.parametrize(
    "query, sentence",
    [
        ({}, "nothing to search for"),
        ({"case": "c1", "picture": "a.jpg"}, "a picture or a case, not both"),
        ({"case": "c11"}, "unknown case 'c11'. Did you mean 'c1'"),
        ({"case": "c1", "k": 0}, "k must be at least 1"),
        ({"case": "c1", "leave_out": "patients"}, "Did you mean 'patient'?"),
        ({"case": "c1", "text_weight": 0.5}, "text_weight has no effect"),
        ({"case": "c1", "text": "a", "text_weight": 1.5}, "text_weight must lie in 0 to 1; it is 1.5"),
        ({"text": " "}, "the text to search for is empty"),
        ({"picture": "nowhere.jpg"}, "nowhere.jpg"),
        ({"case": "c1", "where": ["diagnosi=a"]}, "Did you mean 'diagnosis'?"),
    ],
)
def test_what_does_not_fit_is_a_sentence(made, query, sentence):
    with pytest.raises(ValueError) as error:
        nearest_cases(made, **query)
    assert sentence in str(error.value)


def test_another_model_is_refused(made, tiny):
    with pytest.raises(ValueError, match="was not made by this model"):
        nearest_cases(made, text="melanoma", model=tiny(2))
    with pytest.raises(ValueError, match="was not made by this model"):
        nearest_cases(made, text="melanoma", model=tiny().image)
