"""What the columns mean, in words: one value of one column -> a phrase (``language/data/narration.yaml``)."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import pandas as pd
import yaml

PROXIES = (
    "dx_type",
    "biopsed",
    "biopsied",
    "concomitant_biopsy",
    "diagnosis_confirm_type",
    "histopathology",
    "management",
)
"""columns that tell how the label was found, and so the label"""

FIELDS = ("diagnosis", "patient.age", "patient.sex", "lesion.localization", "modality")
"""columns that have a slot of their own in the wordings, and are told unless others are asked for"""


@cache
def _data() -> dict:
    return yaml.safe_load((files("dermis.language") / "data" / "narration.yaml").read_text(encoding="utf-8"))


def wordings() -> tuple[str, ...]:
    """The built-in wordings, see ``wording.fill``."""
    return tuple(_data()["wordings"])


def narratable() -> tuple[str, ...]:
    """The columns that a caption can tell."""
    return (*FIELDS, *_data()["facts"], *_data()["measures"])


def pictures(modality: str | None) -> list[str]:
    """What a picture of this modality is called; a modality without an entry is called by its own name."""
    if modality is None:
        return _data()["unknown_picture"]
    return _data()["pictures"].get(modality, [f"{modality} image"])


def site(localization: str) -> str:
    """ "back" -> "on the back"."""
    return _data()["sites"].get(localization, f"on the {localization}")


def person(age: float | None, sex: str | None) -> str | None:
    """ "a 45-year-old man", "an 8-year-old girl", "an infant", "a woman"; None where neither is known."""
    if age is None:
        return {"male": "a man", "female": "a woman"}.get(sex or "")
    if age < 1:
        return {"male": "an infant boy", "female": "an infant girl"}.get(sex or "", "an infant")
    grown = {"male": "man", "female": "woman"} if age >= 18 else {"male": "boy", "female": "girl"}
    return with_article(f"{int(age)}-year-old {grown.get(sex or '', 'patient' if age >= 18 else 'child')}")


def fact(column: str, value: object) -> str | None:
    """What a caption says about one value of a column without a slot; None where it says nothing.

    Raises ValueError for a measure that is no number.
    """
    if column in _data()["measures"]:
        return _data()["measures"][column].format(f"{number(column, value):g}")
    return _data()["facts"][column].get(str(value).removesuffix(".0"))


def with_article(noun: str) -> str:
    """ "dermoscopic image" -> "a dermoscopic image"; "80-year-old man" -> "an 80-year-old man"."""
    first = noun.split("-")[0].split()[0]
    vowel = noun[:1].lower() in "aeiou" or first in ("8", "11", "18") or (len(first) == 2 and first[0] == "8")
    return f"{'an' if vowel else 'a'} {noun}"


def known(row: Mapping[str, object], column: str) -> object | None:
    """The value of a cell, None where it is missing."""
    value = row.get(column)
    return None if value is None or pd.isna(value) else value


def number(column: str, value: object) -> float:
    """The value of a cell that measures something; raises ValueError, with the column's name, if it is no number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"{column} should be a number to be told; it is {value!r}.") from None
