"""Published tables and the named protocols behind them (``data/published.yaml``)."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from dermis.evaluation.config import EvaluationConfig
from dermis.registry import unknown


@dataclass(frozen=True)
class PublishedSet:
    """A data set of the tables: ``get`` says how to make its manifest, ``classes`` names its class list.

    ``numbered``: whether a diagnosis may be given as its position in that list. ``split``: the split that the whole
    published set is in one's manifest. ``concepts``: those of a manifest with more.
    """

    name: str
    title: str
    get: str
    classes: str | None = None
    numbered: bool = True
    split: str | None = None
    concepts: list[str] | None = None


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


@dataclass(frozen=True)
class Column:
    """A column of a table: ``metric`` of ``data`` by ``protocol``, published on ``n`` cases."""

    data: PublishedSet
    protocol: PublishedProtocol
    n: int
    metric: str
    entry: str

    @property
    def title(self) -> str:
        """ "PAD-UFES-20 accuracy" """
        direction = f" ({self.entry.split()[0]})" if "{direction}" in self.protocol.entry else ""
        return f"{self.data.title} {self.metric}{direction}"


@dataclass(frozen=True)
class PublishedTable:
    """Published numbers: one value per column for each model."""

    name: str
    source: str
    columns: tuple[Column, ...]
    averages: tuple[slice, ...]
    models: dict[str, tuple[float, ...]]


@cache
def _data() -> dict[str, Any]:
    return yaml.safe_load((files("dermis.evaluation") / "data" / "published.yaml").read_text(encoding="utf-8"))


def published_tables() -> list[str]:
    """The names that ``published_table`` knows."""
    return list(_data()["tables"])


def published_protocols() -> dict[str, str]:
    """Named protocol -> what it does."""
    return {name: protocol["about"] for name, protocol in _data()["protocols"].items()}


def published_table(name: str) -> PublishedTable:
    """A published table by name; raises ValueError for a wrong one."""
    if name not in _data()["tables"]:
        raise unknown("published table", name, published_tables())
    given = _data()["tables"][name]
    columns = tuple(_column(part["protocol"], *cells) for part in given["parts"] for cells in part["columns"])
    models = {model: tuple(values) for model, values in given["models"].items()}
    assert all(len(values) == len(columns) for values in models.values())
    starts = [sum(given.get("averages", [])[:i]) for i in range(len(given.get("averages", [])))]
    averages = tuple(
        slice(start, start + width) for start, width in zip(starts, given.get("averages", []), strict=True)
    )
    return PublishedTable(name, given["source"], columns, averages, models)


def _column(protocol: str, data: str, n: int, metric: str | None = None, direction: str = "") -> Column:
    how = PublishedProtocol(name=protocol, **_data()["protocols"][protocol])
    what = PublishedSet(name=data, **_data()["sets"][data])
    metric = metric or how.metric
    assert metric is not None
    return Column(what, how, n, metric, how.entry.format(direction=direction))


def settings_of(
    data: PublishedSet,
    protocol: PublishedProtocol,
    *,
    concept_terms: Path | None = None,
    seed: int = 0,
    n_boot: int = 1000,
) -> EvaluationConfig:
    """The settings by which ``evaluate`` follows a named protocol on a set; no subgroups, no pictures in the report.

    ``concept_terms`` is MAKE's file for protocols of concepts; the others do not look at it. Raises ValueError for a
    set whose class names are not known.
    """
    settings = dict(protocol.settings)
    if settings["protocols"] == ["concepts"]:
        settings |= {"concepts": data.concepts, "concept_terms": concept_terms}
    elif settings["protocols"] != ["retrieval"]:
        if data.classes is None:
            raise ValueError(f"{data.title}: {data.get}.")
        settings["classes"] = data.classes
    split = data.split if protocol.cases == "all" and data.split else protocol.cases
    return EvaluationConfig(**settings, split=split, subgroups=[], pictures=0, seed=seed, n_boot=n_boot)
