"""Conditions on columns: every operator, missing values, and sentences for what is wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermis.cases.manifest import Manifest
from dermis.search.filters import chosen


@pytest.fixture(scope="module")
def cases():
    table = {
        "case_id": list("abcde"),
        "image": [f"{c}.jpg" for c in "abcde"],
        "diagnosis": ["melanoma", "nevus", None, "basal cell carcinoma", "melanoma"],
        "patient.age": [60, 30, 72.5, np.nan, 59],
        "patient.sex": ["female", "male", "male", None, "female"],
    }
    return Manifest.build(pd.DataFrame(table), Path())


@pytest.mark.parametrize(
    "conditions, expected",
    [
        ([], "abcde"),
        (["diagnosis=melanoma"], "ae"),
        (["diagnosis!=melanoma"], "bd"),
        (["diagnosis = basal cell carcinoma"], "d"),
        (["patient.age=60"], "a"),
        (["patient.age!=60"], "bce"),
        (["patient.age<60"], "be"),
        (["patient.age<=60"], "abe"),
        (["patient.age>60"], "c"),
        (["patient.age>=60.0"], "ac"),
        (["patient.age>=-1e3"], "abce"),
        (["diagnosis=melanoma", "patient.age>=60"], "a"),
        ("patient.sex=male", "bc"),
        (["case_id=d"], "d"),
    ],
)
def test_conditions(cases, conditions, expected):
    met_N = chosen(cases, conditions)
    assert met_N.dtype == bool
    assert "".join(cases.table["case_id"][met_N]) == expected


@pytest.mark.parametrize(
    "condition, sentence",
    [
        ("diagnosi=melanoma", "unknown column 'diagnosi'. Did you mean 'diagnosis'?"),
        ("skin_tone=3", "unknown column 'skin_tone'"),
        ("patient.age=>60", "unknown operator '=>'. Did you mean"),
        ("patient.age~60", "unknown operator '~'. Allowed: !=, <, <=, =, >, >="),
        ("patient.age>=old", "patient.age is a number, and 'old' is none"),
        ("patient.age<nan", "patient.age is a number, and 'nan' is none"),
        ("diagnosis>melanoma", "diagnosis is text, which only = and != compare"),
        ("diagnosis=melanom", "unknown diagnosis 'melanom'. Did you mean 'melanoma'?"),
        ("melanoma", "'melanoma' is no condition: write COLUMN=VALUE"),
        ("diagnosis=", "'diagnosis=' is no condition"),
        ("=melanoma", "'=melanoma' is no condition"),
        ("patient.age>90", "no case meets patient.age>90."),
        ("__import__('os').system('true')=1", "unknown column"),
    ],
)
def test_what_is_wrong_is_a_sentence(cases, condition, sentence):
    with pytest.raises(ValueError) as error:
        chosen(cases, [condition])
    assert sentence in str(error.value)


def test_a_column_of_many_values_is_not_listed():
    table = pd.DataFrame({"case_id": [f"c{i}" for i in range(500)], "image": "a.jpg"})
    with pytest.raises(ValueError, match=r"^no case has 'x' as its case_id\.$"):
        chosen(Manifest.build(table, Path()), ["case_id=x"])
