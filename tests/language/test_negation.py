"""What is said about a mention. Expectations written by hand, most forms after NegEx (Chapman et al. 2001)."""

import pytest

from dermis.language.knowledge import reader
from dermis.language.lexicon import default_lexicon
from dermis.language.ontology import default_ontology


@pytest.fixture(scope="module")
def read():
    return reader(default_ontology(), default_lexicon())


@pytest.mark.parametrize("text, concepts", [
    ("No scale.", ""),
    ("No scale, crust or erosion.", ""),
    ("A red plaque without ulceration.", "erythema plaque"),
    ("Without scale, a red patch.", "erythema patch"),
    ("A red plaque without scale, with a purple border.", "erythema plaque purple"),
    ("No scale, crust, and erosion.", ""),
    ("No vesicles but pustules.", "pustule"),
    ("No vesicles; pustules.", "pustule"),
    ("No vesicles. Pustules.", "pustule"),
    ("Absence of crusts was noted, however erosions are seen.", "erosion"),
    ("Papules rather than pustules.", "papule"),
    ("A non-scaly plaque.", "plaque"),
    ("A nonscaly red plaque.", "erythema plaque"),
    ("Neither scale nor crust.", ""),
    ("Scale is absent.", ""),
    ("Scale, crust and erosion are absent.", ""),
    ("Red papules, scale is absent.", "erythema papule"),
    ("Red papules with scale absent.", "erythema papule"),
    ("Papules are seen but scale is not present.", "papule"),
    ("The plaque is red, not scaly, and firm.", "plaque erythema firm"),
    ("No change in scale.", "scale"),
    ("Not only scaly but also crusted.", "scale crust"),
    ("Negative for telangiectasia.", ""),
    ("The crust is scale-free.", "crust"),
    ("Lesions resembling ulcers.", ""),
    ("Possible erosion.", ""),
    ("A sore that does not heal.", "ulcer"),
    ("Family history of blisters. Nodules.", "nodule"),
    ("Swollen, not ulcerated, nodules e.g. on the arm.", "edema nodule"),
])  # fmt: skip
def test_concepts(read, text, concepts):
    assert " ".join(read(text).concepts) == concepts


@pytest.mark.parametrize("text, symptoms", [
    ("She denies itching or pain.", ()),
    ("It itches; no pain.", ("itching",)),
    ("Painless, non-pruritic papule.", ()),
])  # fmt: skip
def test_symptoms(read, text, symptoms):
    assert read(text).symptoms == symptoms


@pytest.mark.parametrize("text, disease", [
    ("Psoriasis on the elbow.", "psoriasis"),
    ("Suspected melanoma.", None),
    ("Rule out basal cell carcinoma.", None),
    ("The differential includes psoriasis, eczema and vitiligo.", None),
    ("Differential diagnosis: psoriasis, eczema.", None),
    ("Melanoma was ruled out.", None),
    ("Not psoriasis but lichen planus.", "lichen planus"),
    ("History of melanoma.", None),
    ("Family history of melanoma.", None),
    ("Her mother had psoriasis.", None),
    ("A 3-month history of psoriasis.", "psoriasis"),
    ("History of melanoma, now presents with a seborrheic keratosis.", "seborrheic keratosis"),
    ("It may be psoriasis.", None),
    ("Psoriasis-like plaques.", None),
    ("Psoriasis and vitiligo.", None),
    ("Dermatitis, namely atopic dermatitis.", "atopic dermatitis"),
    ("Plaques consistent with psoriasis, resembling eczema.", "psoriasis"),
    ("Seen beside vitiligo, diagnosed as psoriasis.", "psoriasis"),
    ("A depressed scar.", None),
])  # fmt: skip
def test_only_a_stated_single_diagnosis_is_one(read, text, disease):
    assert read(text).disease == disease


def test_a_disease_name_is_not_the_concepts_in_it_but_what_it_ends_in(read):
    assert read("Erythema nodosum.").concepts == ()
    assert read("A venous ulcer.").concepts == ("ulcer",)
    assert read("red blood cells, a rating scale, patch testing").concepts == ()
