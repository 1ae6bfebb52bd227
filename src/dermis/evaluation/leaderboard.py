"""Several models' rows of a suite side by side: a line per row, the best of each, and the mean rank.

Only like is ranked with like. Where models were measured on different cases (``Measured.same_cases``), the numbers on
the cases that most models have are ranked; the others carry an asterisk, and all do where no cases have the most. The
mean rank is over the rows in which every model is ranked; equal numbers share the mean of their places.

Shapes: L rows, M models.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermis.evaluation.report import nulls
from dermis.evaluation.suite_row import Measured

FORMAT = 1


@dataclass(frozen=True)
class Leaderboard:
    """``rows``: row -> model's name -> its number. ``ranks``: row -> the ranked models' places, 1 the best."""

    suite: str
    version: int
    models: dict[str, str]
    """name -> key"""
    rows: dict[str, dict[str, Measured]]
    ranks: dict[str, dict[str, float]]
    notes: list[str]
    """rows that are there twice"""

    @property
    def shared(self) -> list[str]:
        """The rows in which every model is ranked."""
        return [row for row, places in self.ranks.items() if len(places) == len(self.models)]

    def mean_rank(self, model: str) -> float:
        """Over the shared rows; NaN where there are none."""
        places = [self.ranks[row][model] for row in self.shared]
        return sum(places) / len(places) if places else math.nan

    def best(self, row: str) -> list[str]:
        """The models with the row's best number, of two or more that are ranked."""
        places = self.ranks[row]
        return [name for name, place in places.items() if place == min(places.values())] if len(places) > 1 else []

    def json(self) -> str:
        """Models with their mean rank and number of rows; per row the numbers, with rank null where not ranked."""
        models = [
            {"name": name, "model_key": key, "rows": sum(name in own for own in self.rows.values())}
            | {"mean_rank": None if math.isnan(rank := self.mean_rank(name)) else rank}
            for name, key in self.models.items()
        ]
        rows = [
            {"row": row, "set": first.set, "protocol": first.protocol, "metric": first.metric}
            | {"numbers": {name: _plain(found, self.ranks[row].get(name)) for name, found in own.items()}}
            for row, own in self.rows.items()
            for first in [next(iter(own.values()))]
        ]
        content = {"version": FORMAT, "suite": self.suite, "suite_version": self.version, "models": models}
        content |= {"ranked_rows": self.shared, "rows": rows, "notes": self.notes}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def write(self, folder: Path) -> Path:
        """Write leaderboard.md and leaderboard.json; returns the path of the first."""
        from dermis.evaluation.leaderboard_markdown import markdown

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "leaderboard.json").write_text(self.json(), encoding="utf-8")
        (folder / "leaderboard.md").write_text(markdown(self), encoding="utf-8")
        return folder / "leaderboard.md"


def leaderboard(folders: Iterable[Path]) -> Leaderboard:
    """The rows in rows/*.json below ``folders``, at any depth, as one table.

    Raises ValueError for a folder without rows, files that are no rows, rows of different suites or versions, two
    models under one name, one model under two names, and two files of one row and model that do not say the same: which
    is right is not known.
    """
    found, notes = read_rows(folders)
    _refuse_other_suites(found)
    _refuse_mixed_names(found)
    rows, first_at = dict[str, dict[str, Measured]](), dict[tuple[str, str], Path]()
    for path, row in found.items():
        own, at = rows.setdefault(row.row, {}), (row.row, row.model)
        if at not in first_at:
            own[row.model], first_at[at] = row, path
        elif (row.value, row.same_cases) == (own[row.model].value, own[row.model].same_cases):
            notes.append(f"{path} repeats {first_at[at]} and counts once.")
        else:
            raise ValueError(
                f"{first_at[at]} and {path} are both {row.row} of {row.model}, with different numbers: remove the one "
                "that is not to count."
            )
    first = next(iter(found.values()))
    models = {row.model: row.model_key for row in found.values()}
    ranks = {row: ranks_of(own) for row, own in rows.items()}
    return Leaderboard(first.suite, first.suite_version, models, rows, ranks, notes)


def read_rows(folders: Iterable[Path]) -> tuple[dict[Path, Measured], list[str]]:
    """Path -> row, each file once, and a sentence on each that is given twice. Raises ValueError for what is no row."""
    found, notes, seen, odd = dict[Path, Measured](), list[str](), set[Path](), dict[str, None]()
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"no folder {folder}: give the OUT of `dermis evaluate MODEL --suite NAME --out OUT`.")
        paths = sorted(p for p in folder.rglob("rows/*") if p.is_file() and not p.name.startswith("."))
        if not paths:
            raise ValueError(f"no row of a suite below {folder}: it should hold rows/*.json.")
        for path in paths:
            try:
                row = Measured.read(path)
            except ValueError as error:
                odd[str(error)] = None
                continue
            if path.resolve() in seen:
                notes.append(f"{path} is given twice and counts once.")
                continue
            seen.add(path.resolve())
            found[path] = row
    if odd:
        raise ValueError("\n".join(["these files are no rows of a suite: remove them, or measure them again.", *odd]))
    if not found:
        raise ValueError("give at least one folder with rows of a suite.")
    return found, notes


def ranks_of(own: dict[str, Measured]) -> dict[str, float]:
    """Places of the models that were measured on the cases that the most have; none where no cases have the most."""
    counts = Counter(row.same_cases for row in own.values()).most_common(2)
    if len(counts) == 2 and counts[0][1] == counts[1][1]:
        return {}
    like = {name: row.value for name, row in own.items() if row.same_cases == counts[0][0]}
    return dict(zip(like, places(list(like.values())), strict=True))


def places(value_M: Sequence[float]) -> list[float]:
    """Places (M,) from 1, the largest first; equal values share the mean of theirs."""
    return [sum(v > own for v in value_M) + (sum(v == own for v in value_M) + 1) / 2 for own in value_M]


def _refuse_other_suites(found: dict[Path, Measured]) -> None:
    """Raise ValueError for rows of several suites or versions."""
    kinds: dict[tuple[str, int], Path] = {}
    for path, row in found.items():
        kinds.setdefault((row.suite, row.suite_version), path)
    if len(kinds) > 1:
        which = " and ".join(f"{suite}, version {version} ({path})" for (suite, version), path in kinds.items())
        raise ValueError(
            f"the rows are of {which}: numbers of different suites or versions are not comparable. Measure the older "
            "again, or leave its folder out."
        )


def _refuse_mixed_names(found: dict[Path, Measured]) -> None:
    """Raise ValueError for two models under one name, and for one model under two."""
    by_name: dict[str, tuple[str, Path]] = {}
    by_key: dict[str, tuple[str, Path]] = {}
    for path, row in found.items():
        key, first = by_name.setdefault(row.model, (row.model_key, path))
        if key != row.model_key:
            raise ValueError(
                f"two models are called {row.model!r} ({first}, {path}). If both count, give one another name: "
                "`dermis evaluate MODEL --suite NAME --name OTHER` over its folder renames its rows and measures none "
                "again. If one is of before the model changed, remove it."
            )
        name, first = by_key.setdefault(row.model_key, (row.model, path))
        if name != row.model:
            raise ValueError(
                f"{name!r} and {row.model!r} are one model, bit for bit ({first}, {path}): leave one of them out."
            )


def _plain(row: Measured, rank: float | None) -> dict[str, Any]:
    numbers = nulls({"value": row.value, "low": row.low, "high": row.high})
    return numbers | {"n": row.n, "rank": rank, "cases_key": row.cases_key, "seed": row.seed, "command": row.command}
