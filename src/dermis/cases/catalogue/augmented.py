"""Sets that come with augmented copies of their pictures, in folders per class: which part is wanted, what to say."""

import re
from collections.abc import Mapping

import pandas as pd

from dermis.cases.catalogue.release import unlike_published
from dermis.cases.groups import augmented_copies
from dermis.registry import unknown

PARTS = ("all", "original", "augmented")


def letters(folder: str) -> str:
    """``Monkey Pox``, ``monkeypox``, ``Monkeypox_augmented`` -> ``monkeypox``."""
    return re.sub("[^a-z]", "", folder.casefold()).removesuffix("augmented")


def only(cases: pd.DataFrame, part: str) -> tuple[pd.DataFrame, list[str]]:
    """The originals, the copies (cases whose ``origin_id`` is not their ``case_id``), or both.

    A note counts the copies without their original, which nothing tells from originals any more. Raises ValueError if
    there is nothing of that part.
    """
    if part not in PARTS:
        raise unknown("part", part, PARTS)
    if part != "all":
        copy = cases["origin_id"] != cases["case_id"]
        cases = cases[copy if part == "augmented" else ~copy].reset_index(drop=True)
        if cases.empty:
            raise ValueError(f"there are no {part} pictures: part={part} leaves nothing.")
    lone = int(((cases["origin_id"] != cases["case_id"]) & ~augmented_copies(cases)).sum())
    said = (
        f"{lone} augmented copies are without their original: copies of one picture stay together in splits and folds, "
        "but they are scored as if they were originals."
    )
    return cases, [said] if lone else []


def parts_unlike_published(cases: pd.DataFrame, published: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A note where originals or copies of a class are not as many as published (part -> class -> number)."""
    kind = pd.Series("augmented", index=cases.index).mask(cases["origin_id"] == cases["case_id"], "original")
    found = (kind + " " + cases["diagnosis"]).value_counts().to_dict()
    wanted = {f"{part} {name}": number for part, classes in published.items() for name, number in classes.items()}
    return unlike_published(found, wanted, "pictures are")
