"""Published tables and the named protocols behind them (``data/published.yaml``)."""

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from dermis.evaluation.config import CLASSIFYING, EvaluationConfig
from dermis.recipe import build
from dermis.registry import unknown

RUNS = Path("runs/finetune")
"""where protocols that fine-tune do so, unless told otherwise"""


@dataclass(frozen=True)
class PublishedSet:
    """A data set of the tables: ``get`` says how to make its manifest, ``classes`` names its class list.

    ``numbered``: whether a diagnosis may be given as its position in that list. ``split``: the split that the whole
    published set is in one's manifest. ``concepts``: those of a manifest with more. ``private``: nobody else has it, so
    what is measured in its place is another set.
    """

    name: str
    title: str
    get: str
    classes: str | None = None
    numbered: bool = True
    split: str | None = None
    concepts: list[str] | None = None
    private: bool = False


@dataclass(frozen=True)
class PublishedProtocol:
    """What is done with a set: on which ``cases``, with which settings, and which number of the report is printed."""

    name: str
    about: str
    cases: str
    settings: dict[str, Any]
    entry: str
    """end of the report entry's protocol; {direction} is the column's"""
    metric: str | None
    beside: str | None = None
    """end of another protocol of the report, whose number of the same metric is said too"""


@dataclass(frozen=True)
class Column:
    """A column of a table: ``metric`` of ``data`` by ``protocol``, published on ``n`` cases."""

    data: PublishedSet
    protocol: PublishedProtocol
    n: int
    metric: str
    entry: str
    class_name: str = ""
    """of a number about one class, as the report calls it; empty: over all classes"""

    @property
    def title(self) -> str:
        """ "PAD-UFES-20 accuracy", "Derm7pt AUC, DIAG melanoma" """
        direction = f" ({self.entry.split()[0]})" if "{direction}" in self.protocol.entry else ""
        return f"{self.data.title} {self.metric}{direction}" + (f", {self.class_name}" if self.class_name else "")


@dataclass(frozen=True)
class Block:
    """Models of a table that are printed as a grid, a line per metric under ``targets``.

    ``columns``: its part of the table's columns, all targets of the first metric, then of the next.
    """

    title: str
    columns: slice
    targets: tuple[str, ...]
    models: tuple[str, ...]


@dataclass(frozen=True)
class PublishedTable:
    """Published numbers: one value per column for each model, none where it has none.

    ``blocks``: how it is printed, if not as one line per model. ``notes``: model -> why its numbers are not comparable,
    or to be doubted. ``remarks``: what else to know. ``deviations``: as ``models``, over the source's runs.
    ``per_cent``: the source prints shares so.
    """

    name: str
    source: str
    columns: tuple[Column, ...]
    averages: tuple[slice, ...]
    models: dict[str, tuple[float | None, ...]]
    blocks: tuple[Block, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    deviations: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    per_cent: bool = False


@cache
def _data() -> dict[str, Any]:
    return yaml.safe_load((files("dermis.evaluation") / "data" / "published.yaml").read_text(encoding="utf-8"))


def published_tables() -> list[str]:
    """The names that ``published_table`` knows."""
    return list(_data()["tables"])


def published_table(name: str) -> PublishedTable:
    """A published table by name; raises ValueError for a wrong one."""
    if name not in _data()["tables"]:
        raise unknown("published table", name, published_tables())
    given = _data()["tables"][name]
    if "grid" in given:
        return _grid(name, given)
    columns = tuple(_column(part["protocol"], *cells) for part in given["parts"] for cells in part["columns"])
    per_cent = given.get("unit") == "per cent"
    cells = {model: [_figures(cell, 100 if per_cent else 1) for cell in row] for model, row in given["models"].items()}
    assert all(len(row) == len(columns) for row in cells.values())
    models = {model: tuple(value for value, _ in row) for model, row in cells.items()}
    spreads = {model: tuple(s for _, s in row) for model, row in cells.items() if any(s is not None for _, s in row)}
    starts = [sum(given.get("averages", [])[:i]) for i in range(len(given.get("averages", [])))]
    averages = tuple(
        slice(start, start + width) for start, width in zip(starts, given.get("averages", []), strict=True)
    )
    notes, remarks = given.get("notes", {}), tuple(given.get("remarks", ()))
    assert set(notes) <= set(models)
    return PublishedTable(
        name, given["source"], columns, averages, models, (), notes, remarks, deviations=spreads, per_cent=per_cent
    )


def _figures(cell: float | str | None, whole: int) -> tuple[float | None, float | None]:
    """Value and deviation of a cell as shares of ``whole``: 0.25 of 1, "25.00 ± 0.50" of 100."""
    parts = [] if cell is None else [round(float(part) / whole, 6) for part in str(cell).split("±")]
    value, deviation = [*parts, None, None][:2]
    return value, deviation


def _grid(name: str, given: dict[str, Any]) -> PublishedTable:
    """A table with a line per metric; a model has numbers in its own block's columns only."""
    grid, columns, blocks = given["grid"], list[Column](), list[Block]()
    targets, metrics = grid["targets"], grid["metrics"]
    for block in given["blocks"]:
        start = len(columns)
        columns += [
            _column(block["protocol"], grid["set"], grid["n"], metric, class_name=class_name)
            for metric in metrics
            for class_name in targets.values()
        ]
        blocks.append(Block(block["title"], slice(start, len(columns)), tuple(targets), tuple(block["models"])))
    models: dict[str, tuple[float | None, ...]] = {}
    for place, block in zip(blocks, given["blocks"], strict=True):
        for model, lines in block["models"].items():
            assert model not in models
            assert [len(values) for values in lines] == [len(targets)] * len(metrics)
            row: list[float | None] = [None] * len(columns)
            row[place.columns] = [value for values in lines for value in values]
            models[model] = tuple(row)
    notes = given.get("notes", {})
    assert set(notes) <= set(models)
    return PublishedTable(name, given["source"], tuple(columns), (), models, tuple(blocks), notes)


def _column(
    protocol: str, data: str, n: int, metric: str | None = None, direction: str = "", class_name: str = ""
) -> Column:
    how = PublishedProtocol(name=protocol, **_data()["protocols"][protocol])
    what = PublishedSet(name=data, **_data()["sets"][data])
    metric = metric or how.metric
    assert metric is not None
    return Column(what, how, n, metric, how.entry.format(direction=direction), class_name)


def settings_of(
    data: PublishedSet,
    protocol: PublishedProtocol,
    *,
    concept_terms: Path | None = None,
    seed: int = 0,
    n_boot: int = 1000,
    runs: Path | str = RUNS,
) -> EvaluationConfig:
    """The settings by which ``evaluate`` follows a named protocol on a set; no subgroups, no pictures in the report.

    ``concept_terms`` is MAKE's file for protocols of concepts; the others do not look at it. Protocols that fine-tune
    do so in RUNS/SET-PROTOCOL with ``seed``, from which the protocol's own seeds are counted where it has several.
    Raises ValueError for a set whose class names are not known.
    """
    settings = dict(protocol.settings)
    if settings["protocols"] == ["concepts"]:
        settings |= {"concepts": data.concepts, "concept_terms": concept_terms}
    elif settings["protocols"] == ["finetune"]:
        folder = Path(runs) / f"{data.name}-{protocol.name}"
        seeds = [seed + own for own in settings["finetune"].get("seeds", [0])]
        settings["finetune"] = settings["finetune"] | {"out": folder, "seeds": seeds}
    elif settings["protocols"][0] in CLASSIFYING:
        if data.classes is None:
            raise ValueError(f"{data.title}: {data.get}.")
        settings["classes"] = data.classes
    split = data.split if protocol.cases == "all" and data.split else protocol.cases
    settings |= {"split": split, "subgroups": [], "pictures": 0, "seed": seed, "n_boot": n_boot}
    return build(EvaluationConfig, settings, f"protocols.{protocol.name}")
