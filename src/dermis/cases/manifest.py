"""The table of cases that everything reads: Parquet (or CSV) with one row per case, and a sidecar of column kinds.

``cases.parquet`` lies beside ``cases.schema.json``, which records the image root and, for each metadata column, whether
it is a number or a category and which categories there are. Missing is null, never a sentinel string.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermis.cases.columns import GROUP_KEYS, SPLITS, known
from dermis.registry import unknown


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

    def groups(self) -> pd.Series:
        """Per row the key that no split may tear: patient, else lesion, else origin, else the case itself."""
        key = pd.Series(pd.NA, index=self.table.index, dtype="string")
        for column in (*GROUP_KEYS, "case_id"):
            if column in self.table:
                prefixed = column + ":" + self.table[column].astype("string")
                key = key.fillna(prefixed)
        return key

    def write(self, path: Path | str) -> Path:
        """Write the table (.parquet or .csv) and its sidecar; returns the table's path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            table = self.table.copy()
            if "sentences" in table:
                table["sentences"] = [json.dumps(list(s)) if s is not None else None for s in table["sentences"]]
            table.to_csv(path, index=False)
        else:
            self.table.to_parquet(path, index=False)
        sidecar = {"version": 1, "image_root": str(self.root), "categories": self.categories}
        sidecar_of(path).write_text(json.dumps(sidecar, indent=1, ensure_ascii=False))
        return path

    @classmethod
    def read(cls, path: Path | str, root: Path | str | None = None) -> "Manifest":
        """Read a manifest; ``root`` overrides the image root of the sidecar (default: the table's own folder).

        Raises ValueError, with a sentence, for a missing file, a wrong delimiter, duplicate ids or unknown columns.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"no manifest at {path}.")
        table = pd.read_csv(path, dtype={"case_id": str}) if path.suffix == ".csv" else pd.read_parquet(path)
        sidecar = json.loads(sidecar_of(path).read_text()) if sidecar_of(path).is_file() else {}
        if root is None:
            root = path.parent / sidecar.get("image_root", ".")
        return cls.build(table, root, categories=sidecar.get("categories"))

    @classmethod
    def build(cls, table: pd.DataFrame, root: Path | str, categories: dict[str, list[str]] | None = None) -> "Manifest":
        """Validate a table and infer the kinds of its metadata columns that ``categories`` does not give."""
        if wrong := [c for c in table.columns if not known(c)]:
            raise ValueError(f"the manifest does not know the column(s) {', '.join(map(str, wrong))}.")
        for column in ("case_id", "image"):
            if column not in table:
                raise ValueError(f"the manifest needs the column {column!r}; it has {', '.join(table.columns)}.")
        if (repeated := table["case_id"][table["case_id"].duplicated()]).any():
            raise ValueError(f"case_id must be unique; {repeated.iloc[0]!r} occurs more than once.")
        table = table.reset_index(drop=True)
        categories = dict(categories or {})
        for column in table.columns:
            if column.startswith(("lesion.", "patient.")) and column not in categories:
                if not pd.api.types.is_numeric_dtype(table[column]) or pd.api.types.is_bool_dtype(table[column]):
                    categories[column] = sorted(table[column].dropna().astype(str).unique())
        return cls(table, Path(root), categories)


def sidecar_of(path: Path) -> Path:
    """cases.parquet -> cases.schema.json"""
    return path.with_name(path.stem + ".schema.json")
