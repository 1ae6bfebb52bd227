"""What the columns of a table are: numbers, categories and directions, learnt from the training cases.

A schema is plain data, so a recipe or a saved model holds it, and it reads tables that it has never seen.

Shapes: N rows, F numbers (a direction counts as two), G categorical columns.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from dermis.cases.manifest import Manifest
from dermis.registry import unknown

LEVELS = ("lesion", "patient")
CIRCULAR = {"lesion.tbp_lv_symm_2axis_angle": 180.0}
"""columns that are directions -> period in the column's own unit. ISIC 2024's is an axis: 180 degrees are 0 again."""
HOW_COLUMNS_COME = (
    'They come in by `dermis import csv TABLE --options columns "image=file, lesion.itch=itch, patient.age=age"`.'
)
MOST_CODES = 20
"""whole numbers of a categorical column that may be codes; more of them are measurements"""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


class Arrays(NamedTuple):
    """A table as a schema reads it."""

    num_NF: np.ndarray  # noqa: N815 (shapes are in the names)
    """float32: ``numbers`` standardised, then sin and cos of each of ``circular``; 0 where missing"""
    cat_NG: np.ndarray  # noqa: N815
    """int64: 1 + the value's place in its list; 0 for missing or not in the list"""
    missing_NF: np.ndarray  # noqa: N815
    """bool: which of ``num_NF`` are missing; a genuine 0 is not"""


@dataclass(frozen=True)
class TableSchema:
    """Columns of one level, in the order of their features; raises ValueError if it cannot be read by.

    A direction stands in a table as its angle (``NAME``), or as ``NAME_sin`` and ``NAME_cos`` where a reader has made
    them already.
    """

    numbers: dict[str, tuple[float, float]]
    """column -> (mean, standard deviation) over the training cases, in the column's own unit"""
    categories: dict[str, list[str]]
    """column -> its values among the training cases, in order"""
    circular: dict[str, float] = field(default_factory=dict)
    """column -> period, in the column's own unit"""

    def __post_init__(self) -> None:
        scales = {c: deviation for c, (_, deviation) in self.numbers.items()} | self.circular
        if wrong := [c for c, scale in scales.items() if not scale > 0]:
            raise ValueError(f"the deviation or period of {', '.join(wrong)} must be above 0.")
        if len(self.columns) != len(set(self.columns)):
            raise ValueError(f"a column is of one kind only; the schema has {', '.join(self.columns)}.")

    @property
    def columns(self) -> list[str]:
        """All columns: numbers, directions, categories."""
        return [*self.numbers, *self.circular, *self.categories]

    @property
    def column_of_F(self) -> list[int]:  # noqa: N802 (shapes are in the names)
        """For each feature of ``num_NF`` which column (of numbers, then directions) it is of."""
        n = len(self.numbers)
        return [*range(n), *(n + i // 2 for i in range(2 * len(self.circular)))]

    @property
    def category_sizes(self) -> list[int]:
        """Number of values of each categorical column, without the one for missing."""
        return [len(values) for values in self.categories.values()]

    @classmethod
    def learn(
        cls,
        manifest: Manifest,
        columns: str | Sequence[str],
        *,
        circular: Mapping[str, float] = CIRCULAR,
        empty: bool = False,
    ) -> "TableSchema":
        """The schema of ``columns`` over the cases of ``manifest``, which shall be the training cases.

        ``columns``: a list, or a level ("lesion", "patient") for all of its columns that have a value. A column whose
        known values are all equal keeps deviation 1. Raises ValueError for columns that the manifest lacks, that are
        text or numbers with words among them, and, unless ``empty`` allows it, if there is no column.
        """
        chosen = _of_level(manifest, columns) if isinstance(columns, str) else list(dict.fromkeys(columns))
        if not chosen and not empty:
            what = f"column {columns}.NAME" if isinstance(columns, str) else "column in the list"
            sentence = f"a table needs at least one column, and there is no {what} with a value."
            raise ValueError(f"{sentence} {HOW_COLUMNS_COME}")
        whole = {part: name for name in circular for part in (name, *_sin_and_cos(name))}
        turning = dict.fromkeys(whole[c] for c in chosen if c in whole)
        straight = [c for c in chosen if c not in whole]
        parts = [part for c in turning for part in ((c,) if c in manifest else _sin_and_cos(c))]
        manifest.require([*straight, *parts], "a table")
        table, numbers, categories = manifest.table, {}, {}
        for column in straight:
            if column in manifest.categories:
                seen = set(table[column].dropna().unique())
                _refuse_words_among_numbers(column, seen)
                categories[column] = [value for value in manifest.categories[column] if value in seen]
            else:
                x_N = _numbers(table, column)
                # by its ends: rounding gives a constant column a deviation of 1e-17, not 0
                varies = np.nanmin(x_N) < np.nanmax(x_N)
                numbers[column] = (float(np.nanmean(x_N)), float(np.nanstd(x_N)) if varies else 1.0)
        return cls(numbers, categories, {column: float(circular[column]) for column in turning})

    def arrays(self, table: pd.DataFrame) -> Arrays:
        """All N rows of ``table``; a column that it lacks is missing in every row.

        Raises ValueError for a column that holds text where the schema has a number, or the other way round.
        """
        num_NF = np.empty((len(table), len(self.column_of_F)), np.float32)
        missing_NF = np.empty(num_NF.shape, bool)
        for f, x_N in enumerate(self._features(table)):
            missing_NF[:, f] = gone_N = np.isnan(x_N)
            num_NF[:, f] = np.where(gone_N, 0.0, x_N)
        cat_NG = np.empty((len(table), len(self.categories)), np.int64)
        for g, (column, values) in enumerate(self.categories.items()):
            cat_NG[:, g] = _places(table, column, values)
        return Arrays(num_NF, cat_NG, missing_NF)

    def _features(self, table: pd.DataFrame) -> Iterator[np.ndarray]:
        for column, (mean, deviation) in self.numbers.items():
            yield (_numbers(table, column) - mean) / deviation
        for column, period in self.circular.items():
            if _has(table, column):
                # the remainder first, so that a whole turn gives the same bits as none
                angle_N = 2 * np.pi * np.mod(_numbers(table, column), period) / period
                yield from (np.sin(angle_N), np.cos(angle_N))
            else:
                yield from (_numbers(table, part) for part in _sin_and_cos(column))


def metadata_columns(manifest: Manifest, levels: Sequence[str] = LEVELS) -> list[str]:
    """The columns LEVEL.NAME of these levels that have a value, in the manifest's order."""
    return [c for c in manifest.table.columns if c.split(".")[0] in levels and "." in c and c in manifest]


def _of_level(manifest: Manifest, level: str) -> list[str]:
    if level not in LEVELS:
        raise unknown("level of a table", level, LEVELS)
    return metadata_columns(manifest, (level,))


def _refuse_words_among_numbers(column: str, values: set[str]) -> None:
    """Raise ValueError for measurements that became categories because a word stands among them."""
    numbers = {v for v in values if _NUMBER.fullmatch(v)}
    measured = len(numbers) > MOST_CODES or any("." in v for v in numbers)
    if measured and (words := sorted(values - numbers)):
        raise ValueError(
            f"{column} holds numbers, such as {min(numbers)!r}, and words, such as {words[0]!r}: leave the words "
            "empty, which means missing, or put them into a column of their own."
        )


def _sin_and_cos(column: str) -> tuple[str, str]:
    return f"{column}_sin", f"{column}_cos"


def _has(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(table[column].notna().any())


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """The column as float64 (N,), NaN where missing."""
    if not _has(table, column):
        return np.full(len(table), np.nan)
    if not pd.api.types.is_numeric_dtype(table[column]):
        raise ValueError(f"{column} must hold numbers; it holds text such as {table[column].dropna().iloc[0]!r}.")
    return table[column].to_numpy(np.float64, na_value=np.nan)


def _places(table: pd.DataFrame, column: str, values: list[str]) -> np.ndarray:
    """1 + the place of each row's value in ``values``, (N,) int64; 0 where it has none."""
    if not _has(table, column):
        return np.zeros(len(table), np.int64)
    if pd.api.types.is_numeric_dtype(table[column]):
        shown = ", ".join(values[:5])
        raise ValueError(f"{column} must hold categories such as {shown}; it holds {table[column].dtype} values.")
    return pd.Index(values).get_indexer(pd.Index(table[column])).astype(np.int64) + 1  # -1 where it is not in the list
