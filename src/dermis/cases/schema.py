"""The manifest's contract as a pandera schema, and what breaks it in one sentence each.

Text columns hold strings or null, ``sentences`` lists of strings, ``concept.*`` numbers from 0 to 1, ``lesion.*`` and
``patient.*`` either finite numbers or categories (strings out of a list; booleans are the categories False and True).
"""

import ast
import json
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pa

from dermis.cases.columns import FIXED, PREFIXES, SPLITS, known

METADATA = ("lesion.", "patient.")
TEXT = pd.Series(["text"]).dtype  # what this pandas holds strings in: `str` since 3.0, `object` before
FITZPATRICK = r"[1-6](-[1-6])?"


def unknown_columns(columns: pd.Index) -> list[str]:
    """One sentence for each column that the manifest does not define, with the nearest one that it does."""
    sentences = []
    for column in map(str, columns):
        if not known(column):
            # two kinds of mistake: a slip of the pen, or a metadata column ("age") without its prefix
            nearest = get_close_matches(column.strip().lower(), FIXED, n=1, cutoff=0.6)
            # "age" is nobody's typo: it lacks its prefix
            hints = ", ".join(map(repr, [*nearest, f"lesion.{column}", f"patient.{column}"]))
            sentences.append(f"the manifest does not know the column {column!r}. Did you mean one of {hints}?")
    if sentences:
        prefixes = ", ".join(f"{prefix}NAME" for prefix in PREFIXES)
        sentences.append(f"It knows {', '.join(FIXED)}, {prefixes} and TEXT_origin.")
    return sentences


def conform(table: pd.DataFrame, categories: dict[str, list[str]]) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """The same table in the contract's types, and the category lists with those that were not given.

    Whole numbers in a text column become text without ".0" (an id column with gaps is float in pandas); values that
    fit no type are left for ``complaints``.
    """
    table, categories = table.copy(), dict(categories)
    for column in table:
        values = table[column].infer_objects()
        if column == "sentences":
            table[column] = pd.Series([_sentences(value) for value in values], index=table.index, dtype=object)
        elif column.startswith("concept."):
            table[column] = _numbers(values)
        elif not column.startswith(METADATA):
            table[column] = _text(values)
        elif column in categories or not _is_number(values):
            table[column] = _text(values)
            if column not in categories:
                ordered = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else None
                found = sorted(table[column].dropna().astype(str).unique())
                categories[column] = found if ordered is None else [str(_as_text(value)) for value in ordered]
        else:
            table[column] = values.astype("float64") if pd.api.types.is_extension_array_dtype(values) else values
    return table, categories


def infer_numbers(table: pd.DataFrame, categories: dict[str, list[str]]) -> pd.DataFrame:
    """For a table of strings: metadata and concepts whose every value is a number become numbers.

    A column of ``categories`` stays text, and so does one with a leading zero ("007"), which is a code.
    """
    for column in table:
        if column.startswith(("concept.", *METADATA)) and column not in categories:
            numbers = pd.to_numeric(table[column], errors="coerce")
            lost = numbers.isna() & table[column].notna() & (table[column].str.lower() != "nan")
            if not (lost | table[column].str.match(r"[+-]?0\d", na=False)).any():
                table[column] = numbers
    return table


class Complaint(NamedTuple):
    """``count`` values of ``column`` break a rule of the contract."""

    column: str
    count: int
    sentence: str


def complaints(table: pd.DataFrame, categories: dict[str, list[str]]) -> list[Complaint]:
    """What breaks the contract, one for each column and rule; empty if nothing does."""
    try:
        schema(table, categories).validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        broken = cases.groupby(["column", "check"], sort=False, dropna=False)
        return [
            Complaint(str(column), len(rows), _sentence(table, str(column), str(check), rows))
            for (column, check), rows in broken
        ]
    return []


def schema(table: pd.DataFrame, categories: dict[str, list[str]]) -> pa.DataFrameSchema:
    """The pandera schema of the columns that ``table`` has."""
    return pa.DataFrameSchema({column: _column(column, table[column], categories.get(column)) for column in table})


def _column(column: str, values: pd.Series, allowed: list[str] | None) -> pa.Column:
    if column == "sentences":
        checks = [pa.Check(is_list_of_strings, element_wise=True, error="must be a list of strings")]
    elif column.startswith("concept."):
        number = pa.Check(_is_number, error="must hold numbers from 0 to 1")
        checks = [pa.Check.in_range(0, 1, error="must lie in 0 to 1") if _is_number(values) else number]
    elif column.startswith(METADATA) and allowed is None:
        checks = [pa.Check(np.isfinite, error="must be finite")]
    else:
        checks = [pa.Check(_is_text, error="must hold text")]
    if column == "split":
        checks.append(pa.Check.isin(SPLITS, error=f"must be one of {', '.join(SPLITS)}"))
    if column == "skin_tone":
        error = 'must be a Fitzpatrick type "1" to "6" or a band such as "1-2"'
        checks.append(pa.Check.str_matches(f"^{FITZPATRICK}$", error=error))
    if allowed is not None:
        shown = ", ".join(allowed[:20]) + (", …" if len(allowed) > 20 else "")
        checks.append(pa.Check.isin(allowed, error=f"must be one of its categories {shown}"))
    required = column in ("case_id", "image")
    if required:
        checks.append(pa.Check(lambda values: values.astype(str).str.strip() != "", error="must not be empty"))
    return pa.Column(None, checks, nullable=not required, unique=column == "case_id")


def _sentence(table: pd.DataFrame, column: str, check: str, rows: pd.DataFrame) -> str:
    value = rows["failure_case"].iloc[0]
    value = value.item() if isinstance(value, np.generic) else value
    if check == "field_uniqueness":
        return f"{column} must be unique; {value!r} occurs {(table[column] == value).sum()} times."
    rule = {"not_nullable": "must not be missing"}.get(check, check)
    first = rows["index"].iloc[0]
    if pd.isna(first):  # a rule about the whole column
        return f"{column} {rule}; it is {table[column].dtype}."
    where = f"row {int(first) + 1}"
    if column != "case_id" and "case_id" in table:
        where += f", case {table['case_id'].iloc[int(first)]!r}"
    shown = "" if check == "not_nullable" else f"{value!r} "
    nearest = get_close_matches(str(value), SPLITS, n=1, cutoff=0.5) if column == "split" else []
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"{column} {rule}; {len(rows)} row(s) break this, first {shown}in {where}.{hint}"


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _is_text(values: pd.Series) -> bool | pd.Series:
    return True if isinstance(values.dtype, pd.StringDtype) else values.map(lambda value: isinstance(value, str))


def is_list_of_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(sentence, str) for sentence in value)


def _text(values: pd.Series) -> pd.Series:
    if isinstance(values.dtype, pd.StringDtype):
        return values.astype(TEXT)
    values = values.astype(object).map(_as_text, na_action="ignore")
    return values.astype(TEXT) if values.dropna().map(lambda value: isinstance(value, str)).all() else values


def _as_text(value: object) -> object:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value) if isinstance(value, bool | int | float | np.bool_ | np.number) else value


def _numbers(values: pd.Series) -> pd.Series:
    try:
        return values.astype("float64")
    except (TypeError, ValueError):
        return values


def _sentences(value: object) -> object:
    """A list of strings out of what Parquet (an array) or CSV (JSON, or a Python list as text) gave."""
    if value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA:
        return None
    if isinstance(value, str):
        for parse in (json.loads, ast.literal_eval):
            try:
                value = parse(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            break
    return list(value) if isinstance(value, list | tuple | np.ndarray) else value
