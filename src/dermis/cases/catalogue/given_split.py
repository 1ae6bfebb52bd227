"""A split that somebody published beside a data set."""

from pathlib import Path, PurePosixPath

import pandas as pd

from dermis.cases.catalogue.table import read_table
from dermis.cases.columns import SPLITS
from dermis.registry import unknown

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "valid", "valid": "valid", "validation": "valid", "test": "test",
    "testing": "test",
}  # fmt: skip
"""what tables and folders call a split -> what the manifest calls it"""


def with_split(cases: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """``cases`` with the column ``split`` from a table that has `split` and a column of case ids or picture names.

    The column whose names (last part, without extension) meet the most cases is taken. A name that is on two sides gets
    none, and a note says so. Raises ValueError if there is no table, or if it has no `split`, names another split than
    train, val(id) and test, or knows none of the cases.
    """
    if not path.is_file():
        raise ValueError(f"there is no table of a split at {path}.")
    table = read_table(path)
    columns = {c.casefold(): c for c in table}
    if "split" not in columns:
        raise ValueError(f"{path} has no column `split`; it has {', '.join(table)}.")
    split = table[columns["split"]].str.casefold()
    for name in split.dropna().unique():
        if name not in SPLIT_NAMES:
            raise unknown(f"split in {path.name}", name, SPLIT_NAMES)
    ids = cases["case_id"].map(_stem)
    names = {c: table[c].dropna().map(_stem) for c in table if c != columns["split"]}
    best = max(names, key=lambda c: int(ids.isin(names[c]).sum()), default=None)
    if best is None or not ids.isin(names[best]).any():
        raise ValueError(f"{path} knows none of the cases: its first row is {table.head(1).to_dict('records')}.")
    sides = split.map(SPLIT_NAMES).groupby(names[best])
    torn = sides.nunique() > 1
    cases = cases.assign(split=ids.map(sides.first().mask(torn, None)).astype(object))
    without = int(cases["split"].isna().sum())
    elsewhere = len(table) - int(names[best].isin(ids).sum())
    notes = [f"{path.name}: " + ", ".join(f"{s} {int((cases['split'] == s).sum())}" for s in SPLITS) + "."]
    if torn.any():
        notes.append(f"{path.name}: {int(torn.sum())} names are on more than one side, {torn.idxmax()} for one.")
    if without or elsewhere:
        notes.append(f"{path.name}: {without} cases have no split; {elsewhere} of its rows are not among the cases.")
    return cases, notes


def _stem(name: str) -> str:
    stem = PurePosixPath(str(name)).name.casefold()
    return stem.rsplit(".", 1)[0] if "." in stem[-5:] else stem
