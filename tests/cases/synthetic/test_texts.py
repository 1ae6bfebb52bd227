"""Texts say what the latent holds, all of it where they claim to, and nothing else."""

import re

import numpy as np
import pytest

from dermis.cases.seven_point import class_of, seven_point_score
from dermis.cases.synthetic import latent_cases
from dermis.cases.synthetic.consultation import complaint, dialogue
from dermis.cases.synthetic.diseases import DISEASES
from dermis.cases.synthetic.texts import caption, concept_text, disease_text, sentences

CASES = latent_cases(patients=250, seed=5)


def finding(name, *kinds):
    return lambda lesion: lesion.findings[name] in kinds


def concept(name):
    return lambda lesion: lesion.concepts[name]


# Written by hand, apart from the generator's own tables.
HOLDS = {
    "typical pigment network": finding("pigment_network", "typical"),
    "regular pigment network": finding("pigment_network", "typical"),
    "atypical pigment network": finding("pigment_network", "atypical"),
    "broken pigment network": finding("pigment_network", "atypical"),
    "blue-whitish veil": finding("blue_whitish_veil", "present"),
    "blue-white veil": finding("blue_whitish_veil", "present"),
    "arborizing vessels": finding("vascular_structures", "arborizing"),
    "tree-like branching vessels": finding("vascular_structures", "arborizing"),
    "comma vessels": finding("vascular_structures", "comma"),
    "hairpin vessels": finding("vascular_structures", "hairpin"),
    "looped vessels": finding("vascular_structures", "hairpin"),
    "vessels within regression": finding("vascular_structures", "within regression"),
    "dotted vessels": finding("vascular_structures", "dotted"),
    "linear irregular vessels": finding("vascular_structures", "linear irregular"),
    "diffuse regular pigmentation": finding("pigmentation", "diffuse regular"),
    "localized regular pigmentation": finding("pigmentation", "localized regular"),
    "diffuse irregular pigmentation": finding("pigmentation", "diffuse irregular"),
    "widespread irregular blotches": finding("pigmentation", "diffuse irregular"),
    "localized irregular pigmentation": finding("pigmentation", "localized irregular"),
    "an irregular blotch": finding("pigmentation", "localized irregular"),
    "regular streaks": finding("streaks", "regular"),
    "a starburst of streaks": finding("streaks", "regular"),
    "irregular streaks": finding("streaks", "irregular"),
    "uneven radial streaks": finding("streaks", "irregular"),
    "regular dots and globules": finding("dots_and_globules", "regular"),
    "evenly spread globules": finding("dots_and_globules", "regular"),
    "irregular dots and globules": finding("dots_and_globules", "irregular"),
    "globules of uneven size": finding("dots_and_globules", "irregular"),
    "blue-grey regression": finding("regression_structures", "blue areas"),
    "blue-grey peppering": finding("regression_structures", "blue areas"),
    "white scar-like regression": finding("regression_structures", "white areas"),
    "white and blue regression structures": finding("regression_structures", "combinations"),
    "milia-like cysts": concept("milia_like_cysts"),
    "comedo-like openings": concept("comedo_like_openings"),
    "leaf-like areas": concept("leaf_like_areas"),
    "ulceration": concept("ulceration"),
    "an ulcer": concept("ulceration"),
    "scale": concept("scale"),
    "scaling": concept("scale"),
    "red lacunae": concept("red_lacunae"),
    "red lagoons": concept("red_lacunae"),
    "central white patch": concept("central_white_patch"),
    "homogeneous blue pigmentation": concept("homogeneous_blue"),
    "asymmetric shape": lambda lesion: lesion.asymmetry >= 0.5,
    "symmetric shape": lambda lesion: lesion.asymmetry <= 0.2,
    "irregular border": lambda lesion: lesion.border_irregularity >= 0.45,
    "regular border": lambda lesion: lesion.border_irregularity <= 0.2,
    "sharply demarcated border": lambda lesion: lesion.softness <= 0.1,
    "ill-defined border": lambda lesion: lesion.softness >= 0.3,
    "variegated colour": lambda lesion: lesion.colour_variegation >= 0.5,
    "flat lesion": lambda lesion: lesion.elevation == "flat",
    "palpable lesion": lambda lesion: lesion.elevation == "palpable",
    "nodular lesion": lambda lesion: lesion.elevation == "nodular",
    "blue-grey colour": lambda lesion: lesion.deep > 0.6,
    "light brown colour": lambda lesion: 0.25 <= lesion.melanin < 0.65,
    "brown colour": lambda lesion: 0.65 <= lesion.melanin < 1.05,
    "dark brown colour": lambda lesion: 1.05 <= lesion.melanin < 1.7,
    "black colour": lambda lesion: lesion.melanin >= 1.7,
    "pink colour": lambda lesion: 0.3 <= lesion.blood <= 0.8,
    "red colour": lambda lesion: lesion.blood > 0.8,
    "skin-coloured colour": lambda lesion: lesion.melanin < 0.25 and lesion.blood < 0.3,
}
STRUCTURES = {p for p in HOLDS if not re.search(r"colour|shape|border| lesion$", p)}


def test_every_phrase_of_the_concept_text_holds_and_every_structure_is_named():
    for case in CASES:
        text = concept_text(case)
        phrases = re.split(r"Visual concepts: |This lesion shows |Features: ", text)[1].rstrip(".").split(", ")
        for phrase in phrases:
            assert HOLDS[phrase](case.lesion), (case.case_id, phrase)
        present = sum(kind != "absent" for kind in case.lesion.findings.values()) + sum(case.lesion.concepts.values())
        assert len(STRUCTURES & set(phrases)) == present


@pytest.mark.parametrize("write", [caption, lambda case: " ".join(sentences(case))])
def test_captions_and_sentences_name_no_structure_that_is_not_there(write):
    for case in CASES:
        text = " " + re.sub(r"[.,:]", " ", write(case)) + " "
        # the longest phrase first, so that "irregular streaks" is not read as "regular streaks"
        for phrase in sorted(STRUCTURES, key=len, reverse=True):
            if f" {phrase} " in text:
                assert HOLDS[phrase](case.lesion), (case.case_id, phrase)
                text = text.replace(f" {phrase} ", " ")


def test_captions_name_the_disease_or_a_synonym_or_none_but_never_another():
    names = {name: (name, *d.synonyms) for name, d in DISEASES.items()}
    named = 0
    for case in CASES:
        diagnosis = re.search(r"(?:Diagnosis:|The diagnosis is|Findings are those of|This is) (.+?)\.", caption(case))
        if diagnosis:
            named += 1
            assert diagnosis[1] in names[case.lesion.disease]
    assert 0.7 < named / len(CASES) < 0.9


def test_disease_texts_are_about_the_disease():
    for case in CASES:
        text = disease_text(case)
        assert case.lesion.disease.lower() in text.lower()
        assert DISEASES[case.lesion.disease].knowledge in text


def test_the_score_in_a_sentence_is_the_weighted_sum_of_the_findings():
    weights = {
        ("pigment_network", "atypical"): 2,
        ("blue_whitish_veil", "present"): 2,
        ("vascular_structures", "dotted"): 2,
        ("vascular_structures", "linear irregular"): 2,
        ("pigmentation", "diffuse irregular"): 1,
        ("pigmentation", "localized irregular"): 1,
        ("streaks", "irregular"): 1,
        ("dots_and_globules", "irregular"): 1,
        ("regression_structures", "blue areas"): 1,
        ("regression_structures", "white areas"): 1,
        ("regression_structures", "combinations"): 1,
    }
    told = 0
    for case in CASES:
        score = sum(weights.get(item, 0) for item in case.lesion.findings.items())
        assert seven_point_score(case.lesion.findings) == score
        grouped = {name: class_of(name, kind) for name, kind in case.lesion.findings.items()}
        assert seven_point_score(grouped) == score
        if said := re.search(r"seven-point score is (\d+)", " ".join(sentences(case))):
            told += 1
            assert int(said[1]) == score
    assert told > 50


def test_consultations_tell_the_history_and_neither_disease_nor_structure():
    names = [n.lower() for name, d in DISEASES.items() for n in (name, *d.synonyms) if len(n) > 3]
    says = {
        "bleed": r"bleeds at times|bled when",
        "itch": r"It itches|scratching",
        "grew": r"growing|bigger than it was",
    }
    denies = {"bleed": "never bled", "itch": "does not itch", "grew": "not grown|same size"}
    for case in CASES:
        talk = dialogue(case) + "\n" + complaint(case)
        assert not any(name in talk.lower() for name in names)
        assert not any(phrase in talk for phrase in STRUCTURES - {"scale"})
        for item, words in says.items():
            assert not re.search(denies[item] if case.lesion.history[item] else words, talk), (case.case_id, item)


def test_touch_is_known_from_the_consultation_alone():
    """What only talk tells: nearly every lesion that dimples is a dermatofibroma, and no table has a column for it."""
    cases = latent_cases(patients=700, seed=6)
    dimples = np.array(["dimples" in dialogue(case) for case in cases])
    disease = np.array([case.lesion.disease for case in cases])
    assert set(disease[dimples]) == {"dermatofibroma"}
    assert dimples[disease == "dermatofibroma"].mean() > 0.3
