"""Suites of evaluations (``data/suites.yaml``): rows of a set and a protocol with fixed settings, under one version."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from dermis.cases.manifest import FORMATS, Manifest
from dermis.evaluation.config import FROM_TRAINING, EvaluationConfig
from dermis.recipe import build
from dermis.registry import unknown


@dataclass(frozen=True)
class SuiteRow:
    """What is done with the manifest ``set``, and which number of the report is the row's: ``metric``, among the
    entries whose protocol begins with ``entry``.

    ``label``: the column that stands for the diagnosis. ``picture``: the column that is the picture. ``split``: the one
    that is scored, if not by the suites' rule. ``official``: the set's own split is scored although it leaks.
    """

    name: str
    set: str
    protocol: str
    settings: dict[str, Any]
    entry: str
    metric: str
    label: str | None = None
    picture: str = "image"
    split: str | None = None
    official: bool = False
    notes: str = ""

    @property
    def kind(self) -> str:
        """The protocol of ``dermis list protocols``."""
        return self.settings["protocols"][0]

    @property
    def learns(self) -> bool:
        """Does it look at the split `train`?"""
        return self.kind in FROM_TRAINING

    def get(self, sets: Path | str) -> str:
        """How to make the manifest in the folder ``sets``."""
        command = f"dermis import {self.set} FOLDER --out {Path(sets) / self.set}.parquet"
        return f"{command} (where to get FOLDER: dermis import {self.set})"

    def config(self, split: str, *, seed: int = 0, n_boot: int = 1000) -> EvaluationConfig:
        """The settings by which ``evaluate`` measures the row; no example pictures, so that reports can be shown."""
        settings = self.settings | {"split": split, "seed": seed, "n_boot": n_boot, "pictures": 0}
        return build(EvaluationConfig, settings, f"protocols.{self.protocol}")


@dataclass(frozen=True)
class Suite:
    """Rows under one version; numbers of two versions are not comparable."""

    name: str
    version: int
    about: str
    rows: tuple[SuiteRow, ...]

    @property
    def sets(self) -> dict[str, list[SuiteRow]]:
        """Set -> its rows."""
        names = dict.fromkeys(row.set for row in self.rows)
        return {name: [row for row in self.rows if row.set == name] for name in names}


def sets_in(folder: Path, names: Collection[str]) -> tuple[dict[str, Callable[[], Manifest]], list[str]]:
    """The sets of these names that the folder holds, with a function that reads each, and a sentence on other tables.

    Raises ValueError for a folder that is not there; reading a set of which there are two files raises it, too.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: --sets is where the manifests of {', '.join(names)} lie.")
    there = sorted(path for path in folder.iterdir() if path.suffix in FORMATS)
    paths = {name: found for name in names if (found := [path for path in there if path.stem == name])}
    others = {path.name: get_close_matches(path.stem, names, n=1, cutoff=0.7) for path in there}
    said = [f"{name} ({near[0]}?)" if near else name for name, near in others.items() if Path(name).stem not in paths]
    notes = [f"{folder} holds tables that are none of the sets: {', '.join(said)}"] if said else []
    return {name: partial(_read, found) for name, found in paths.items()}, notes


def _read(paths: list[Path]) -> Manifest:
    if len(paths) > 1:
        raise ValueError(f"{paths[0]} and {paths[1]} are both there: keep one.")
    return Manifest.read(paths[0])


@cache
def _data() -> dict[str, Any]:
    return yaml.safe_load((files("dermis.evaluation") / "data" / "suites.yaml").read_text(encoding="utf-8"))


def suites() -> list[str]:
    """The names that ``suite`` knows."""
    return list(_data())


def suite(name: str) -> Suite:
    """A suite by name; raises ValueError for a wrong one."""
    if name not in _data():
        raise unknown("suite", name, suites())
    given = _data()[name]
    rows = [
        _row(protocol, given["protocols"][protocol], {key: value for key, value in part.items() if key != "protocols"})
        for part in given["rows"]
        for protocol in part["protocols"]
    ]
    assert len({row.name for row in rows}) == len(rows)
    return Suite(name, given["version"], given["about"], tuple(rows))


def _row(protocol: str, how: dict[str, Any], part: dict[str, Any]) -> SuiteRow:
    picture = [part["picture"]] if "picture" in part else []
    return SuiteRow(name="-".join([part["set"], *picture, protocol]), protocol=protocol, **how, **part)
