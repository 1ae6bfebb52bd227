"""One translation of "not known": every table's own word for it becomes null; and columns that must be numbers."""

from collections.abc import Iterable

import pandas as pd

WORDS = ("", "nan", "none", "null", "na", "n/a", "unk", "unknown", "not available")
"""what tables write where they know nothing, in lower case"""


def null_missing(column: pd.Series, also: Iterable[str] = ()) -> pd.Series:
    """``column`` of strings, stripped, with null where a whole cell is one of WORDS or ``also`` (in any case)."""
    if not isinstance(column.dtype, pd.StringDtype):  # text stays text: as objects it is slow and large
        column = column.astype(object)
    column = column.where(column.notna(), "").astype(str).str.strip()
    words = {*WORDS, *(word.lower() for word in also)}
    return column.mask(column.str.lower().isin(words), None)


def numbers(column: pd.Series) -> pd.Series:
    """Strings -> float64, null -> NaN; raises ValueError naming the first cell that is no number."""
    values = pd.to_numeric(column, errors="coerce").astype(float)
    if (wrong := column[values.isna() & column.notna()]).any():
        raise ValueError(f"column {column.name!r} should hold numbers; {wrong.iloc[0]!r} is none.")
    return values
