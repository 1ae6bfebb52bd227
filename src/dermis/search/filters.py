"""Conditions on a manifest's columns: ``diagnosis=melanoma``, ``patient.age>=60``. A case must meet all of them.

A missing value meets no condition, ``!=`` neither: what is not known is not said to be different.
"""

import operator
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from dermis.cases.manifest import Manifest
from dermis.registry import unknown

OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CONDITION = re.compile(r"\s*([^<>=!~]*[^<>=!~\s])\s*([<>=!~]+)\s*(.*?)\s*", re.DOTALL)
MOST_NAMED = 100
"""values of a column that are named when a condition's is none of them"""


def chosen(manifest: Manifest, conditions: Iterable[str]) -> np.ndarray:
    """Which cases meet all ``conditions``, bool (N,).

    Raises ValueError for a condition that is none, a column, operator or value that there is not, and where no case is
    left.
    """
    conditions = [conditions] if isinstance(conditions, str) else list(conditions)
    met_N = np.ones(len(manifest), bool)
    for condition in conditions:
        met_N &= _met(manifest, condition)
    if not met_N.any():
        raise ValueError(f"no case meets {' and '.join(conditions)}.")
    return met_N


def _met(manifest: Manifest, condition: str) -> np.ndarray:
    parts = _CONDITION.fullmatch(condition)
    if parts is None or not parts[3]:
        raise ValueError(f"{condition!r} is no condition: write COLUMN=VALUE, as in diagnosis=melanoma.")
    column, sign, wanted = parts.groups()
    if column not in manifest or column == "sentences":
        raise unknown("column", column, (c for c in manifest.table.columns if c in manifest and c != "sentences"))
    if sign not in OPERATORS:
        raise unknown("operator", sign, OPERATORS)
    values = manifest.table[column]
    if pd.api.types.is_numeric_dtype(values):
        x_N = values.to_numpy(np.float64, na_value=np.nan)
        return OPERATORS[sign](x_N, _number(wanted, column)) & ~np.isnan(x_N)
    if sign not in ("=", "!="):
        raise ValueError(f"{column} is text, which only = and != compare; {condition!r} has {sign}.")
    known = values.dropna().astype(str)
    names = known.unique()
    if wanted not in names:
        if len(names) <= MOST_NAMED:
            raise unknown(column, wanted, names)
        raise ValueError(f"no case has {wanted!r} as its {column}.")
    return (values.notna() & OPERATORS[sign](values.astype(str), wanted)).to_numpy(dtype=bool)


def _number(text: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if np.isnan(value):
        raise ValueError(f"{column} is a number, and {text!r} is none.") from None
    return value
