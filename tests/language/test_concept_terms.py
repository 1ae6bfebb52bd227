"""Concept terms: found by name whatever the spelling, and every annotated set's names are there."""

import json

import pytest

from dermis.cases.catalogue.derm7pt import FINDINGS
from dermis.cases.synthetic.ontology import CONCEPTS
from dermis.language.concept_terms import concept_terms, terms_of

SKINCON = (
    "Vesicle", "Papule", "Macule", "Plaque", "Pustule", "Bulla", "Patch", "Nodule", "Ulcer", "Crust", "Erosion",
    "Atrophy", "Exudate", "Telangiectasia", "Scale", "Scar", "Friable", "Dome-shaped", "Brown(Hyperpigmentation)",
    "White(Hypopigmentation)", "Purple", "Yellow", "Black", "Erythema", "Comedo", "Lichenification", "Blue",
    "Umbilicated", "Purpura/Petechiae", "Excoriation", "Burrow", "Wheal", "Translucent", "Salmon", "Pigmented",
    "Sclerosis", "Poikiloderma", "Induration", "Xerosis", "Fissure", "Abscess", "Cyst", "Warty/Papillomatous",
    "Exophytic/Fungating", "Acuminate", "Flat topped", "Gray", "Pedunculated",
)  # fmt: skip
ARTEFACTS = ("hair", "ruler", "pen marking", "gel bubble", "dark corner", "dermoscope border", "purple pen")


@pytest.mark.parametrize("names", [SKINCON, tuple(FINDINGS), CONCEPTS, ARTEFACTS])
def test_names_of_annotated_sets_have_terms(names):
    found = terms_of(names)
    assert list(found) == list(names)
    assert all(found.values())


def test_spelling_does_not_count():
    assert terms_of(["Brown (hyperpigmentation)"]) == {
        "Brown (hyperpigmentation)": concept_terms()["brown(hyperpigmentation)"]
    }
    assert terms_of(["milia_like_cysts"])["milia_like_cysts"] == concept_terms()["milia-like cysts"]


def test_an_unknown_name_is_an_error_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown concept 'telangiectasis'. Did you mean 'telangiectasia'"):
        terms_of(["scale", "telangiectasis"])


def test_a_file_in_the_released_form_replaces_ours(tmp_path):
    path = tmp_path / "terms.json"
    path.write_text(json.dumps({"blue": ["blue", "blue color"], "streaks": ["streaks", "line", "line"]}))
    assert terms_of(["Streaks"], path) == {"Streaks": ["streaks", "line", "line"]}
    with pytest.raises(ValueError, match="unknown concept 'scale'"):
        terms_of(["scale"], path)


@pytest.mark.data
def test_the_released_file_is_read(shared_data):
    path = shared_data / "derm_vocab" / "ConceptTerms.json"
    found = concept_terms(path)
    assert (len(found), sum(map(len, found.values()))) == (64, 120)
    assert terms_of(FINDINGS, path)["dots_and_globules"][0] == "black dots and globules"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1, 2]", "should hold"),
        ('{"a": []}', "should hold"),
        ('{"a": "b"}', "should hold"),
        ('{"a b": ["x"], "a_b": ["y"]}', "are one name"),
        ("{", "cannot be read"),
    ],
)
def test_a_wrong_file_is_answered_with_a_sentence(text, sentence, tmp_path):
    (tmp_path / "terms.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        concept_terms(tmp_path / "terms.json")


def test_a_returned_list_is_the_callers_own():
    concept_terms()["scale"].append("fish")
    assert "fish" not in concept_terms()["scale"]
