"""Cells of a manifest on their way into somebody else's CSV."""

from pathlib import Path
from typing import Any

import pandas as pd

from dermis.cases.manifest import Manifest
from dermis.cases.whole_files import written_whole


def cells(manifest: Manifest, column: str, number: bool = False) -> list[Any]:
    """The values of a column, None where missing; all None for a column that is absent or, ``number``, holds text."""
    absent = column not in manifest.table or (number and not pd.api.types.is_numeric_dtype(manifest.table[column]))
    values = [None] * len(manifest) if absent else manifest.table[column].tolist()
    return [value if isinstance(value, list | str) or value == value else None for value in values]


def file_names(manifest: Manifest, column: str, whose: str) -> list[str]:
    """The pictures' names out of ``column``; raises ValueError for one inside an archive."""
    manifest.require([column], f"{whose}'s table")
    names = cells(manifest, column)
    if packed := next((name for name in names if name is not None and "!/" in name), None):
        raise ValueError(
            f"{packed!r} lies inside an archive, which {whose}'s code cannot open: unpack it, or take the names from "
            "another column (filename)."
        )
    return names


def write_rows(rows: pd.DataFrame, path: Path | str) -> None:
    """Write as UTF-8 CSV, missing as an empty cell."""
    with written_whole(Path(path)) as (scratch,):
        rows.to_csv(scratch, index=False, encoding="utf-8")
