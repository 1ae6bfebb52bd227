"""A release on disk beside the one that was published: other numbers, and pictures that lie there twice."""

from collections.abc import Mapping

import pandas as pd


def unlike_published(found: Mapping[str, int], published: Mapping[str, int], what: str = "") -> list[str]:
    """A note with the numbers that are not as published; ``what`` (``pictures are``) begins its sentence."""
    wrong = [
        f"{name} {found.get(name, 0)} (published: {number})"
        for name, number in published.items()
        if found.get(name, 0) != number
    ]
    return [f"{what} not as many as published: {', '.join(wrong)}.".lstrip()] if wrong else []


def once(cases: pd.DataFrame, ids: pd.Series | None = None) -> tuple[pd.DataFrame, list[str]]:
    """The first case of each id (default: ``case_id``), renumbered, and a note on how many others there are."""
    twice = (cases["case_id"] if ids is None else ids).duplicated()
    notes = [f"{int(twice.sum())} pictures lie there twice; one of each is taken."] if twice.any() else []
    return cases[~twice].reset_index(drop=True), notes
