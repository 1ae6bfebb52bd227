"""The table of cases that everything reads: Parquet (or CSV) with one row per case, and a sidecar of column kinds.

``cases.parquet`` lies beside ``cases.schema.json``, which records the image root and, for each metadata column, whether
it is a number or a category and which categories there are. Missing is null, never a sentinel string.
"""

import csv
import json
import os.path
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dermis.cases import schema
from dermis.cases.columns import SPLITS
from dermis.cases.csv_table import read_csv_table
from dermis.cases.groups import augmented_copies, linked_groups
from dermis.cases.whole_files import written_whole
from dermis.registry import unknown

VERSION = 1
FORMATS = (".parquet", ".csv")
TABLES = (".xlsx", ".tsv", ".tab", ".txt")
"""what else `dermis import csv` reads"""


@dataclass(frozen=True)
class Manifest:
    """A validated table of cases.

    ``table`` has a RangeIndex and one row per case; ``root`` is the folder that the paths in ``image``, ``dermoscopy``
    and ``mask`` are relative to; ``categories`` maps each categorical metadata column to its ordered list of values.
    """

    table: pd.DataFrame
    root: Path
    categories: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, column: str) -> bool:
        """Does the manifest have ``column``, with at least one value in it?"""
        return column in self.table and bool(self.table[column].notna().any())

    def select(self, rows: np.ndarray | pd.Series | Iterable[int]) -> "Manifest":
        """The cases of a boolean mask or of positions, in that order, renumbered from 0."""
        rows = np.asarray(rows)
        table = self.table[rows] if rows.dtype == bool else self.table.iloc[rows]
        return replace(self, table=table.reset_index(drop=True))

    def split(self, name: str) -> "Manifest":
        """The cases of one split; raises ValueError if the manifest has no split column or no such cases."""
        if name not in SPLITS:
            raise unknown("split", name, SPLITS)
        if "split" not in self:
            raise ValueError("the manifest has no column `split`: make one with `dermis split`.")
        chosen = self.select((self.table["split"] == name).to_numpy(dtype=bool))
        if not len(chosen):
            raise ValueError(f"no case of the manifest is in split {name!r}.")
        return chosen

    def require(self, columns: Iterable[str], why: str) -> None:
        """Raise ValueError naming the columns that are missing (or all null) and ``why`` they are needed."""
        if missing := [c for c in columns if c not in self]:
            have = ", ".join(c for c in self.table.columns if c in self)
            raise ValueError(f"{why} needs the column(s) {', '.join(missing)}; the manifest has {have}.")

    def showing(self, picture: str) -> "Manifest":
        """These cases with their ``dermoscopy`` as the picture, those that have one; itself for ``image``."""
        if picture == "image":
            return self
        self.require([picture], f"showing {picture}")
        shown = self.select(self.table[picture].notna().to_numpy(dtype=bool))
        table = shown.table.assign(image=shown.table[picture], modality="dermoscopic")
        return Manifest(table, self.root, self.categories)

    def groups(self) -> pd.Series:
        """Per row the key that no split may tear: its patient, else lesion, else origin, else the case itself.

        Rows that share any of these ids have one key (``cases/groups.py``).
        """
        return linked_groups(self.table)

    def copies(self) -> pd.Series:
        """Per row: is it an augmented copy of another case? It is learned from, never scored (``cases/groups.py``)."""
        return augmented_copies(self.table)

    def write(self, path: Path | str) -> Path:
        """Write the table (.parquet or .csv) and its sidecar; returns the table's path.

        The image root is written relative to the table's folder, so that both can move together; absolute where the
        two have nothing but the file system's root in common. What was there is replaced when all is written; an error
        leaves it as it was.
        """
        path = _of_known_format(Path(path))
        sidecar = {"version": VERSION, "image_root": _portable(self.root, path.parent), "categories": self.categories}
        # the table last: with more columns than the older table has, the new sidecar fits it too
        with written_whole(sidecar_of(path), path) as (beside, scratch):
            beside.write_text(json.dumps(sidecar, indent=1, ensure_ascii=False), encoding="utf-8")
            if path.suffix.lower() == ".csv":
                self._as_csv().to_csv(scratch, index=False, quoting=csv.QUOTE_NONNUMERIC)
            else:
                self.table.to_parquet(scratch, index=False)
        return path

    def _as_csv(self) -> pd.DataFrame:
        """The table with its lists as JSON."""
        if "sentences" not in self.table:
            return self.table
        lists = [None if value is None else json.dumps(value, ensure_ascii=False) for value in self.table["sentences"]]
        return self.table.assign(sentences=lists)

    @classmethod
    def read(cls, path: Path | str, root: Path | str | None = None) -> "Manifest":
        """Read a manifest; ``root`` overrides the image root of the sidecar (default: the table's own folder).

        Raises ValueError, with one sentence for each thing wrong, for a missing or broken file and for a table that
        breaks the contract (``cases/schema.py``).
        """
        path = Path(path)
        if path.suffix.lower() in TABLES:
            raise ValueError(f"a manifest is a {' or '.join(FORMATS)} file, and {path} is none; {_own_table(path)}")
        if not _of_known_format(path).is_file():
            raise ValueError(f"no manifest at {path}." if not path.exists() else f"{path} is not a file.")
        sidecar = _read_sidecar(sidecar_of(path))
        if path.suffix.lower() == ".csv":
            table = schema.infer_numbers(read_csv_table(path, expect="case_id"), sidecar["categories"])
        else:
            table = _read_parquet(path)
        if root is None:
            root = os.path.normpath(path.parent / sidecar["image_root"])
        try:
            manifest = cls.build(table, root, categories=sidecar["categories"])
        except ValueError as error:
            if path.suffix.lower() != ".csv" or {"case_id", "image"} <= set(table):
                raise
            raise ValueError(f"{path} is no manifest yet; {_own_table(path)}\n{error}") from None
        del table
        pa.default_memory_pool().release_unused()  # what reading needed: of 400,000 rows more than what is kept
        return manifest

    @classmethod
    def build(cls, table: pd.DataFrame, root: Path | str, categories: dict[str, list[str]] | None = None) -> "Manifest":
        """Bring a table into the contract's types, infer the kinds that ``categories`` does not give, and validate.

        Raises ValueError with one line for each thing wrong.
        """
        wrong = schema.unknown_columns(table.columns)
        for column in ("case_id", "image"):
            if column not in table:
                have = ", ".join(map(str, table.columns))
                wrong.append(f"the manifest needs the column {column!r}; it has {have or 'none'}.")
        if table.columns.has_duplicates:
            wrong.append(f"the column {table.columns[table.columns.duplicated()][0]!r} stands in the table twice.")
        if not wrong and table.empty:
            wrong.append("the manifest has no cases.")
        if not wrong:
            table, categories = schema.conform(table.reset_index(drop=True), categories or {})
            wrong = [complaint.sentence for complaint in schema.complaints(table, categories)]
        if wrong:
            raise ValueError("\n".join(wrong))
        return cls(table, Path(root), categories)


def sidecar_of(path: Path) -> Path:
    """cases.parquet -> cases.schema.json"""
    return path.with_name(path.stem + ".schema.json")


def _of_known_format(path: Path) -> Path:
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"a manifest is a {' or '.join(FORMATS)} file, and {path} is not named like one.")
    return path


def _own_table(path: Path) -> str:
    command = f"dermis import csv {path} --out {path.with_suffix('.parquet')}"
    return f'`{command} --options columns "image=COLUMN, …"` makes one of your own table.'


def _portable(root: Path, folder: Path) -> str:
    root, folder = os.path.abspath(root), os.path.abspath(folder)
    share = os.path.splitdrive(root)[0] == os.path.splitdrive(folder)[0]
    apart = not share or os.path.dirname(common := os.path.commonpath([root, folder])) == common
    return root if apart else Path(os.path.relpath(root, folder)).as_posix()


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from None


def _read_sidecar(path: Path) -> dict[str, Any]:
    """The sidecar's image root and category lists; both have defaults, so it may be absent."""
    sidecar = {"version": VERSION, "image_root": ".", "categories": {}}
    if path.is_file():
        try:
            sidecar |= json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is not a readable sidecar: {error}") from None
    if sidecar["version"] != VERSION:
        raise ValueError(f"{path} has version {sidecar['version']!r}; this dermis reads version {VERSION}.")
    lists = sidecar["categories"].values() if isinstance(sidecar["categories"], dict) else [None]
    if not isinstance(sidecar["image_root"], str) or not all(schema.is_list_of_strings(values) for values in lists):
        raise ValueError(
            f"{path} must hold a string `image_root` and `categories` that map columns to lists of strings."
        )
    return sidecar
