"""What a case's columns say of it, in words that a patient can use (``language/data/consultation.yaml``)."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import pandas as pd
import yaml

from dermis.language.phrases import known, number, person

SPEAKS = 12
"""years from which patients say who they are themselves"""

FLAGS = {
    **{flag: f"lesion.{flag}" for flag in ("grew", "changed", "itch", "hurt", "bleed", "elevation")},
    **{flag: f"patient.{flag}" for flag in ("skin_cancer_history", "cancer_history")},
}
"""topic -> the column whose value is its answer"""
DIAMETERS = ("lesion.diameter_1", "lesion.diameter_mm", "lesion.clin_size_long_diam_mm")
"""columns of the longest diameter in mm, the first known is told"""
COLUMNS = (
    *("lesion.localization", "lesion.duration_months", *DIAMETERS, "lesion.diameter_2", *FLAGS.values()),
    *("patient.age", "patient.sex", "patient.fitzpatrick"),
)
"""all that a consultation is told from"""
SKIN_TYPES = ("1", "2", "3", "4", "5", "6")
"""of Fitzpatrick; a band ("1-2") is not told"""


@cache
def words() -> dict:
    """The wordings of consultations."""
    return yaml.safe_load((files("dermis.language") / "data" / "consultation.yaml").read_text(encoding="utf-8"))


def facts_of(row: Mapping[str, object]) -> dict[str, str]:
    """Topic -> what the row says of it, as the answers' key or in words, in the topics' order.

    Raises ValueError for a measure that is no number.
    """
    topics, facts = words()["topics"], {}
    age, sex = _number(row, "patient.age"), known(row, "patient.sex")
    facts["child" if age is not None and age < SPEAKS else "person"] = person(age, None if sex is None else str(sex))
    facts["duration"] = _duration(_number(row, "lesion.duration_months"))
    facts["size"] = _size(row)
    skin_type = str(known(row, "patient.fitzpatrick")).removesuffix(".0")
    facts["skin_type"] = skin_type if skin_type in SKIN_TYPES else None
    for topic, column in FLAGS.items():
        value = known(row, column)
        facts[topic] = None if value is None or str(value) not in topics[topic]["answers"] else str(value)
    return {topic: facts[topic] for topic in topics if facts.get(topic) is not None}


def place_of(row: Mapping[str, object]) -> str | None:
    """ "back" -> "on my back"."""
    site = known(row, "lesion.localization")
    return None if site is None else words()["sites"].get(str(site), f"on my {site}")


def untold(table: pd.DataFrame) -> list[str]:
    """A sentence for each column of ``FLAGS`` with values that no wording knows ("yes" instead of True)."""
    sentences = []
    for topic, column in FLAGS.items():
        told = words()["topics"][topic]["answers"]
        values = table[column].dropna().astype(str).unique() if column in table else ()
        if strange := sorted(set(values) - set(told)):
            shown = ", ".join(map(repr, strange[:3])) + (", …" if len(strange) > 3 else "")
            sentences.append(f"of {column} only {', '.join(told)} can be told, not {shown}.")
    return sentences


def what_complaints_tell() -> str:
    """The columns that a chief complaint is told from, with the values where not any will do."""
    columns = ["lesion.localization", "lesion.duration_months", *DIAMETERS]
    for topic, column in FLAGS.items():
        if values := words()["topics"][topic].get("complaint"):
            columns.append(f"{column} ({' or '.join(values)})")
    return ", ".join(columns)


def _duration(months: float | None) -> str | None:
    """Whole months below two years, above them years, "about" where that rounds; weeks below one month."""
    if months is None or months <= 0:
        return None
    count, unit = (
        (months / 12, "year") if months >= 24 else (months, "month") if months >= 1 else (months * 52 / 12, "week")
    )
    whole = max(1, round(count))
    about = "" if whole == count else "about "
    return f"{about}{f'{whole} {unit}s' if whole > 1 else f'a {unit}'}"


def _size(row: Mapping[str, object]) -> str | None:
    """ "6 mm" or "6 by 5 mm"; a diameter of 0 is no diameter."""
    sides = [s for c in DIAMETERS if (s := _number(row, c)) is not None and s > 0][:1]
    other = _number(row, "lesion.diameter_2")
    sides += [other] if other is not None and other > 0 else []
    return " by ".join(f"{side:g}" for side in sides) + " mm" if sides else None


def _number(row: Mapping[str, object], column: str) -> float | None:
    value = known(row, column)
    return None if value is None else number(column, value)
