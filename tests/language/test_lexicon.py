"""The lexicon of visual concepts."""

import pytest

from dermis.language.lexicon import Lexicon, default_lexicon

# the two groups of terms that MAKE's prompt shares with everybody (types; secondary changes)
MAKE_TERMS = """vesicle, papule, macule, plaque, pustule, bulla, patch, nodule, ulcer, crust, erosion,
excoriation, atrophy, exudate, fissure, induration, xerosis, telangiectasia, scale, scar"""
# SkinCon's concepts (Daneshjou et al., NeurIPS 2022, table 1), without "do not consider this image"
SKINCON = """
Vesicle, Papule, Macule, Plaque, Abscess, Pustule, Bulla, Patch, Nodule, Ulcer, Crust, Erosion, Excoriation,
Atrophy, Exudate, Purpura/Petechiae, Fissure, Induration, Xerosis, Telangiectasia, Scale, Scar, Friable,
Sclerosis, Pedunculated, Exophytic/Fungating, Warty/Papillomatous, Dome-shaped, Flat topped,
Brown(Hyperpigmentation), Translucent, White(Hypopigmentation), Purple, Yellow, Black, Erythema, Comedo,
Lichenification, Blue, Umbilicated, Poikiloderma, Salmon, Wheal, Acuminate, Burrow, Gray, Pigmented, Cyst
"""
SEVEN_POINT = """pigment network, blue whitish veil, vascular structures, pigmentation, streaks, dots and globules,
regression structures"""


def words(text):
    return [word.strip() for word in text.replace("\n", " ").split(",")]


@pytest.mark.parametrize("word", MAKE_TERMS.replace("\n", " ").split(", "))
def test_the_terms_of_makes_prompt_are_concepts_of_their_own(word):
    assert default_lexicon().find(word) == word


@pytest.mark.parametrize("names", [words(SKINCON), words(SEVEN_POINT)])
def test_annotated_concepts_are_found_and_stay_apart(names):
    found = [default_lexicon().find(name) for name in names]
    assert None not in found
    assert len(set(found)) == len(names)


@pytest.mark.parametrize("word, concept", [
    ("scaly", "scale"), ("Erythematous", "erythema"), ("bullae", "bulla"), ("Pustules", "pustule"), ("oedema", "edema"),
    ("café-au-lait spots", "cafe-au-lait macule"), ("bull’s-eye", "targetoid"), ("skin-colored", "skin-coloured"),
    ("greyish", "gray"), ("telangiectases", "telangiectasia"), ("comedones", "comedo"), ("patchy", "patch"),
    ("red blood cell", None), ("", None), ("melanoma", None),
])  # fmt: skip
def test_spellings(word, concept):
    assert default_lexicon().find(word) == concept


def test_every_spelling_leads_back_to_its_concept_or_to_one_that_shares_it():
    lexicon = default_lexicon()
    assert len(lexicon.concepts) >= 150
    for concept in lexicon.concepts:
        assert lexicon.names(concept)[0] == concept == lexicon.find(concept)
        assert all(lexicon.find(name) is not None for name in lexicon.names(concept))


def test_read_a_grouped_and_a_flat_file(tmp_path):
    grouped, flat = tmp_path / "a.yaml", tmp_path / "b.json"
    grouped.write_text("shape:\n  ring: [annular]\nnot a concept:\n  - [ring finger]\n")
    flat.write_text('{"ring": ["annular"]}')
    for path in (grouped, flat):
        assert Lexicon.read(path).find("Annular") == "ring"
    assert Lexicon.read(grouped).groups == {"ring": "shape"}
    assert Lexicon.read(grouped).decoys == ("ring finger",)
    assert Lexicon.read(grouped).fingerprint != Lexicon.read(flat).fingerprint


def test_a_file_of_another_kind_is_refused_by_name(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("ring: annular\n")
    with pytest.raises(ValueError, match=r"c\.yaml: 'ring' should have a list of spellings, not 'annular'"):
        Lexicon.read(path)
    for decoys in ("[ring finger]", "3", "", "[[ring, 3]]"):
        path.write_text(f"ring: [annular]\nnot a concept: {decoys}\n")
        with pytest.raises(ValueError, match=r"c\.yaml: 'not a concept' should be a list of lists of phrases, not "):
            Lexicon.read(path)
    path.write_text("a:\n  ring: []\nb:\n  ring: []\n")
    with pytest.raises(ValueError, match=r"c\.yaml: the concept 'ring' stands in the lexicon twice"):
        Lexicon.read(path)
