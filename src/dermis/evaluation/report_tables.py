"""The tables of a report, before they are Markdown or HTML: rows are metrics, groups or classes, columns are models."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from dermis.evaluation.report import GAP, Entry, Report, models

MEANINGS = {
    "accuracy": "share of cases whose first choice is right",
    "accuracy@k": "share of cases whose class is among the first k choices",
    "balanced accuracy": "mean over classes of the share of their cases that was found; rare ones count alike",
    "macro precision": "mean over classes of: when the model says this class, how often is it right",
    "macro recall": "the same as balanced accuracy",
    "macro F1": "mean over classes of the harmonic mean of precision and recall",
    "weighted F1": "mean F1 over classes, each as often as it has cases",
    "Cohen's kappa": "agreement beyond what the two mixes of classes give by chance; 0 is chance, 1 is all right",
    "macro AUROC": "mean over classes of: how often a case of the class gets a higher score for it than another case; "
    "0.5 is guessing",
    "macro AUPR": "mean over classes of the area under precision against recall; guessing gives the class's share",
    "ECE": "mean distance between the stated confidence and the share that is right; 0 is honest",
    "Brier score": "squared distance of the probabilities from the truth, 0 to 2; lower is better",
    "log loss": "mean −log probability of the truth; lower is better",
    "precision": "when the model says this class, how often is it right",
    "recall": "share of the class's cases that was found",
    "specificity": "share of the other cases that was not called this class",
    "F1": "harmonic mean of precision and recall",
    "AUROC": "how often a case with it gets a higher score than a case without; 0.5 is guessing",
    "recall@k": "share of queries with at least one right answer among the first k",
    "true recall@k": "share of all right answers that are among the first k",
    "mean average precision": "mean over queries of the precision at each right answer",
    "precision@k": "share of the k nearest training pictures that have the picture's class",
    "macro precision@k": "the same, as the mean over classes; rare ones count alike",
    "mean average precision@k": "the same among the k nearest: early right ones count more, 1 is no wrong one before",
    "mean rank": "rank of the first right answer; 1 is best",
    "median rank": "the same, median",
}
"""metric -> what it says, for a reader who is not of the trade"""
SPREAD = "± is the standard deviation over seeds or draws, divided by their number."
SYNTHETIC = "Synthetic data: drawn by a program. These numbers say nothing about patients."
ENOUGH = 200
"""bootstrap draws, below which the ends of an interval are a matter of luck"""


@dataclass(frozen=True)
class Table:
    """Rows of entries by model (``head``); a cell is None where a model has no such number."""

    title: str
    head: list[str]
    rows: list[tuple[str, list[Entry | None]]]


def protocols(report: Report) -> list[str]:
    """The protocols in order of appearance."""
    return list(dict.fromkeys(e.protocol for e in report.entries))


def tables(report: Report, protocol: str) -> Iterator[Table]:
    """A protocol's tables: everybody by metric, then each metric per class and per subgroup."""
    mine = [e for e in report.entries if e.protocol == protocol]
    names = models(report.entries)
    yield _table("All cases", [e for e in mine if not e.class_name and not e.subgroup], "metric", names)
    for title, kind in (("Per class", "class_name"), ("By group", "subgroup")):
        some = [_gap_in_one_row(e) for e in mine if getattr(e, kind)]
        for metric in dict.fromkeys(e.metric for e in some):
            yield _table(f"{title}: {metric}", [e for e in some if e.metric == metric], kind, names)


def warnings(report: Report) -> list[str]:
    """What a reader must know before the first number."""
    found = [SYNTHETIC] if report.synthetic else []
    if report.n_boot is not None and report.n_boot < ENOUGH:
        draws = f"{report.n_boot} bootstrap draws"
        found.append(f"Intervals from {draws} only, as in a smoke run: too rough to rely on (evaluation.n_boot).")
    return found


def notes_of(cells: Sequence[Entry | None]) -> str:
    """The notes of a row; where those of models differ, each with its model."""
    there = [e for e in cells if e is not None]
    if len({e.notes for e in there}) == 1:
        return there[0].notes
    return "; ".join(f"{e.model}: {e.notes}" for e in there if e.notes)


def sizes_of(cells: Sequence[Entry | None]) -> tuple[str, str]:
    """Cases and patients of a row; where those of models differ, one after the other as the models stand."""
    sizes = [("–", "–") if e is None else (str(e.n), str(e.patients)) for e in cells]
    known = {size for size, e in zip(sizes, cells, strict=True) if e is not None}
    n, patients = zip(*(known if len(known) == 1 else sizes), strict=True)
    return " / ".join(n), " / ".join(patients)


def spread(items: Iterable[Entry]) -> bool:
    """Is any of them a mean over seeds or draws, with their deviation (``SPREAD`` says what it is)?"""
    return any(e.deviation is not None for e in items)


def meaning(metric: str) -> str:
    """What a metric says; empty for one that needs no words."""
    metric = metric.removeprefix("positive ").split(" (")[0]
    return MEANINGS.get(metric) or MEANINGS.get(re.sub(r"@\d+$", "@k", metric), "")


def _gap_in_one_row(entry: Entry) -> Entry:
    """A gap under a name that is the same for every model: which two groups are furthest apart is told in its notes."""
    if not entry.notes.startswith(GAP):
        return entry
    column, _, pair = entry.subgroup.partition(": ")
    return replace(entry, subgroup=f"{column}: {GAP}", notes=entry.notes.replace(GAP, pair, 1))


def _table(title: str, items: list[Entry], row: str, names: list[str]) -> Table:
    rows: dict[str, list[Entry | None]] = {}
    for entry in items:
        rows.setdefault(getattr(entry, row), [None] * len(names))[names.index(entry.model)] = entry
    return Table(title, names, list(rows.items()))
