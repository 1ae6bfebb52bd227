"""Age and sex out of a caption; expectations written by hand."""

import pytest

from dermis.language.patient import age, sex


@pytest.mark.parametrize("text, years", [
    ("A 45-year-old woman", 45), ("45 yo male", 45), ("a 62 y/o man", 62), ("6-month-old girl", 0.5),
    ("62F, nodule", 62),
    ("a woman aged 30", 30), ("26 weeks old", 0.5), ("a boy aged 18 months", 1.5), ("71 years of age", 71),
    ("children 2 to 15 years old", None), ("under 40 years of age", None), ("a 30-year-old and a 40-year-old", None),
    ("a 45-year-old man; now 45 years old", 45), ("a 3-year history", None), ("5 mm", None), ("300-year-old", None),
    ("people aged 20 to 40 years", None), ("in her 30s", None), ("", None),
    ("fever of 102F", None), ("A 45-year-old woman, temperature 101 F", 45), ("62F with fever", 62),
])  # fmt: skip
def test_age(text, years):
    assert age(text) == years


@pytest.mark.parametrize("text, expected", [
    ("a 45-year-old woman", "female"), ("Male patient.", "male"), ("She noticed it.", "female"),
    ("62M with bulla", "male"),
    ("A man whose wife says she saw it", "male"), ("men and women", None), ("a woman and a man", None), ("human", None),
    ("the female; his", "female"), ("", None), ("He had a fever of 102F", "male"),
])  # fmt: skip
def test_sex(text, expected):
    assert sex(text) == expected
