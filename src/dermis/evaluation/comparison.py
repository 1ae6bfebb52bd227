"""A model's own numbers beside a published table: each data set that is there is measured as published.

A number on other cases than the published ones (a subset, a deduplicated list, unreadable pictures) is shown and called
not comparable; a set that is not there is named with how to get it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import CLASSIFYING, EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.keep_list import keep_listed
from dermis.evaluation.published import RUNS, Column, PublishedSet, PublishedTable, settings_of
from dermis.evaluation.report import Entry, Report, nulls
from dermis.evaluation.setting import Embed
from dermis.evaluation.torn_split import torn_said
from dermis.language.prompts import class_list

BESIDE = ("balanced accuracy", "macro AUROC")
"""what the tables lack: accuracy alone ranks models wrongly where most cases are of one class"""


@dataclass(frozen=True)
class Cell:
    """Our number for a column, or ``why`` there is none; ``beside``: other metrics, or the metric by another way."""

    column: Column
    entry: Entry | None
    why: str = ""
    beside: tuple[Entry, ...] = ()

    @property
    def comparable(self) -> bool:
        """Is it measured on the published set, and on as many cases?"""
        return self.entry is not None and self.entry.n == self.column.n and not self.column.data.private

    def name_of(self, beside: Entry) -> str:
        """The metric, and the protocol if it is not the cell's."""
        own = self.entry is not None and self.entry.protocol == beside.protocol
        return beside.metric if own else f"{beside.metric} by {beside.protocol}"


@dataclass(frozen=True)
class Comparison:
    """A published table with a model's own cells; ``reports`` hold all that was measured, by "SET PROTOCOL"."""

    table: PublishedTable
    model: str
    cells: list[Cell]
    notes: list[str]
    reports: dict[str, Report] = field(repr=False)
    command: str = ""

    def write(self, folder: Path | str) -> Path:
        """Write table.md, table.json and each report in a folder of its own; returns the path of table.md."""
        from dermis.evaluation.comparison_markdown import markdown

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(markdown(self), encoding="utf-8")
        (folder / "table.json").write_text(self.json(), encoding="utf-8")
        for name, report in self.reports.items():
            report.write(folder / name.replace(" ", "-"))
        return folder / "table.md"

    def json(self) -> str:
        """Per column: set, protocol, metric, published n and numbers (with their deviations over runs, where printed),
        ours with n, interval and deviation over seeds (null where missing)."""
        content = {"version": 1, "table": self.table.name, "source": self.table.source, "model": self.model}
        content |= {"command": self.command, "notes": self.notes, "published_notes": self.table.notes}
        content |= {"published_remarks": list(self.table.remarks)}
        columns = [
            {
                "set": cell.column.data.name,
                "protocol": cell.column.protocol.name,
                "metric": cell.column.title,
                "n": cell.column.n,
                "published": {m: values[i] for m, values in self.table.models.items() if values[i] is not None},
                "published_deviation": {m: s[i] for m, s in self.table.deviations.items() if s[i] is not None},
                "ours": _plain(cell.entry),
                "comparable": cell.comparable,
                "missing": cell.why,
                "beside": {cell.name_of(entry): _plain(entry) for entry in cell.beside},
            }
            for i, cell in enumerate(self.cells)
        ]
        return json.dumps(content | {"columns": columns}, indent=1, ensure_ascii=False, allow_nan=False)


def compare(
    model: Any,
    table: PublishedTable,
    sets: Mapping[str, Callable[[], Manifest]],
    *,
    keep: Mapping[str, Path] | None = None,
    concept_terms: Path | None = None,
    seed: int = 0,
    n_boot: int = 1000,
    runs: Path | str = RUNS,
    name: str = "model",
    embed: Embed | None = None,
    cache: Path | None = None,
    command: str = "",
) -> Comparison:
    """Measure ``model`` on those of ``sets`` (name -> a function that reads the manifest) that the table has.

    ``keep``: set -> list of its cases to score (``keep_listed``). ``runs``: folder for what a protocol fine-tunes; what
    it holds is gone on from. ``embed``, ``cache``: as in ``evaluate``. A manifest without splits is taken for the test
    split if there is such a list or if it has as many cases as were published. A set that cannot be measured (a class
    that the protocol does not know, no test split) is reported with the reason and does not stop the others. An
    official split that tears patients is scored as it is, and a note says so.
    """
    shared: dict[str, Any] = {"name": name, "embed": embed, "cache": cache, "command": command}
    measured: dict[str, Report | str] = {}
    notes: list[str] = []
    for column in table.columns:
        data, run = column.data, _run(column)
        if run in measured or data.name not in sets:
            continue
        try:
            config = settings_of(
                data, column.protocol, concept_terms=concept_terms, seed=seed, n_boot=n_boot, runs=runs
            )
            manifest, config, said = _prepared(sets[data.name](), column, config, (keep or {}).get(data.name))
            found = evaluate(model, manifest, config, dataset=data.title, official_split=True, **shared)
            said += torn_said(manifest, config.protocols)
            notes += [f"{data.title}: {note}" for note in said]
            measured[run] = found
        except ValueError as error:
            measured[run] = f"cannot be measured: {error}"
    printed = {run: {c.metric for c in table.columns if _run(c) == run} for run in map(_run, table.columns)}
    cells = [_cell(column, measured.get(_run(column)), printed[_run(column)]) for column in table.columns]
    reports = {run: report for run, report in measured.items() if isinstance(report, Report)}
    return Comparison(table, name, cells, list(dict.fromkeys(notes)), reports, command)


def _run(column: Column) -> str:
    return f"{column.data.name} {column.protocol.name}"


def _prepared(
    manifest: Manifest, column: Column, config: EvaluationConfig, keep: Path | None
) -> tuple[Manifest, EvaluationConfig, list[str]]:
    """The manifest with names for numbers and the listed cases only; the settings for one that is its own test list."""
    notes = []
    if config.split != "all" and "split" not in manifest and (keep is not None or len(manifest) == column.n):
        config = replace(config, split="all")  # an error of the settings where the protocol learns from `train`
        which = f"the list {keep.name}" if keep is not None else "it has as many cases as were published, so it"
        notes.append(f"the manifest has no splits; {which} is taken for the {column.protocol.cases} split.")
    if keep is not None:
        manifest, note = keep_listed(manifest, keep, config.split)
        notes.append(note)
    if column.data.classes is not None and config.protocols[0] in CLASSIFYING and "diagnosis" in manifest:
        manifest = _named(manifest, column.data)
    return manifest, config, notes


def _named(manifest: Manifest, data: PublishedSet) -> Manifest:
    """Diagnoses by name where the published tables number them."""
    assert data.classes is not None
    names, given = class_list(data.classes), manifest.table["diagnosis"]
    if not given.dropna().str.fullmatch(r"\d+").all():
        return manifest
    if not data.numbered:
        raise ValueError(f"the classes of {data.title} are numbered in more than one way: give their names.")
    if (highest := max(map(int, given.dropna()), default=0)) >= len(names):
        raise ValueError(f"{data.title} has {len(names)} classes, numbered from 0; a diagnosis is {highest}.")
    by_number = {str(number): name for number, name in enumerate(names)}
    table = manifest.table.assign(diagnosis=given.map(lambda number: by_number[str(int(number))], na_action="ignore"))
    return replace(manifest, table=table)


def _cell(column: Column, found: Report | str | None, printed: set[str]) -> Cell:
    """Our number for the column; ``printed``: the metrics that the table has of the same run."""
    if found is None:
        return Cell(column, None, f"missing: {column.data.get}.")
    if isinstance(found, str):
        return Cell(column, None, found)
    scored = [e for e in found.entries if (e.split, e.class_name, e.subgroup) == (found.split, column.class_name, "")]
    by_metric = {e.metric: e for e in scored if e.protocol.endswith(column.entry)}
    if column.metric not in by_metric and column.protocol.settings["protocols"] == ["labels"]:
        return Cell(column, None, "cannot be measured: this model was not taught all of the labels.")
    if not by_metric:
        return Cell(column, None, f"cannot be measured: this model has no {column.entry.removeprefix(', ')}.")
    if column.metric not in by_metric:
        what = "classes" if column.metric.startswith("accuracy@") else "cases"
        return Cell(column, None, f"cannot be measured: too few {what} for {column.metric}.")
    beside = tuple(by_metric[metric] for metric in BESIDE if metric in by_metric and metric not in printed)
    if (other := column.protocol.beside) is not None:
        beside += tuple(e for e in scored if e.protocol.endswith(other) and e.metric == column.metric)
    return Cell(column, by_metric[column.metric], beside=beside)


def _plain(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return nulls({name: getattr(entry, name) for name in ("value", "low", "high", "deviation", "n", "patients")})
