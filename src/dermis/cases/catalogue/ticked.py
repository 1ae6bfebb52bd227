"""Questions with boxes to tick, a column per box: YES, or nothing where it is not ticked or the question left out."""

from collections.abc import Iterator

import pandas as pd

from dermis.cases.catalogue.labels import readable

NONE_OF_THESE = ("no_relevant_experience", "no_relevant_symptoms", "prefer_not_to_answer", "texture_unspecified")
"""boxes that answer without saying anything"""


def boxes(table: pd.DataFrame, question: str) -> pd.DataFrame:
    """Is it ticked, for each box of the ``question`` that its columns begin with; by the rest of their names."""
    ticks = table[[c for c in table if c.startswith(question)]].eq("YES").astype(bool)
    return ticks.rename(columns=lambda c: c.removeprefix(question))


def answers(table: pd.DataFrame, question: str, asked: str) -> Iterator[tuple[str, pd.Series]]:
    """Per box ``asked_box`` and "True" or "False"; null where none is ticked, for then the question was left out."""
    ticks = boxes(table, question)
    words = ticks.astype(str).astype(object).where(ticks.any(axis=1), None)
    yield from ((f"{asked}_{c}", words[c]) for c in words if c not in NONE_OF_THESE)


def one_of(table: pd.DataFrame, question: str, several: str) -> pd.Series:
    """The one box that is ticked, ``several`` where there are more, null where there is none."""
    ticks = boxes(table, question)
    ticks = ticks.drop(columns=[c for c in ticks if c in NONE_OF_THESE])
    if not len(ticks.columns):
        return pd.Series(None, index=table.index, dtype=object)
    first = readable(ticks.idxmax(axis=1)).str.removesuffix(" after mitigation")
    return first.where(ticks.any(axis=1), None).mask(ticks.sum(axis=1) > 1, several)
