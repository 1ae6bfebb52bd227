"""What an evaluation found: entries with their protocol, n and interval, written as JSON, Markdown and HTML."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermis.evaluation.bootstrap import Interval

UNTRAINED = "untrained"
"""what entries call the model as it was before a run"""
GAP = "best minus worst"
"""how the notes of the difference of two groups begin; its subgroup says which: ``patient.sex: female minus male``"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One number with everything needed to believe it; NaN (null in JSON) where it is undefined."""

    protocol: str
    metric: str
    value: float
    low: float
    """lower end of the 95 % interval (patient bootstrap)"""
    high: float
    n: int
    """cases (queries, for retrieval)"""
    patients: int
    """groups that the bootstrap drew: patients, else lesions, else cases"""
    model: str
    dataset: str
    split: str
    seed: int
    command: str = ""
    subgroup: str = ""
    """"patient.sex = female"; empty: everybody"""
    class_name: str = ""
    """of numbers about one class; empty: all classes"""
    notes: str = ""
    deviation: float | None = None
    """of a mean over seeds or draws: their standard deviation (divided by their number); none where there is one"""

    def text(self) -> str:
        """``0.920 [0.906, 0.933]``, over seeds ``0.920 ± 0.004 [0.906, 0.933]``"""
        if math.isnan(self.value):
            return "undefined"
        spread = "" if self.deviation is None else f" ± {_number(self.deviation)}"
        limits = "" if math.isnan(self.low) else f" [{_number(self.low)}, {_number(self.high)}]"
        return f"{_number(self.value)}{spread}{limits}"


@dataclass(frozen=True)
class Example:
    """A picture as the model saw it: its case, what it is, what it was called with which probability, and a JPEG."""

    case_id: str
    truth: str
    called: str
    score: float
    jpeg: bytes


@dataclass(frozen=True)
class Section:
    """What one protocol adds beside its entries: classes, confusion counts (rows are the truth), example pictures, and
    the scores (N, C) and labels (N,) that the plots are drawn from."""

    model: str
    protocol: str
    about: str
    classes: list[str] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    scores: np.ndarray | None = field(default=None, repr=False, compare=False)
    labels: np.ndarray | None = field(default=None, repr=False, compare=False)
    table: pd.DataFrame | None = field(default=None, repr=False, compare=False)
    """what was said of each case; it becomes a CSV file beside the report"""


@dataclass(frozen=True)
class Report:
    """One evaluation, or several models beside each other (``beside``)."""

    title: str
    dataset: str
    split: str
    cases: int
    patients: int
    synthetic: bool
    entries: list[Entry]
    sections: list[Section]
    bad_pictures: list[str] = field(default_factory=list)
    """case ids whose pictures could not be read; they are in no number"""
    notes: list[str] = field(default_factory=list)
    command: str = ""
    n_boot: int | None = None
    """bootstrap draws behind each interval; none: not recorded"""

    def value(self, protocol: str, metric: str, *, model: str | None = None) -> Entry:
        """The entry over everybody and all classes; raises ValueError if there is none, or more than one model."""
        found = [
            e
            for e in self.entries
            if (e.protocol, e.metric, e.subgroup, e.class_name) == (protocol, metric, "", "")
            and model in (None, e.model)
        ]
        if len(found) != 1:
            have = sorted({f"{e.protocol}: {e.metric} ({e.model})" for e in self.entries if not e.subgroup})
            raise ValueError(f"{len(found)} entries for {protocol}: {metric}; the report has {'; '.join(have)}.")
        return found[0]

    def beside(self, other: "Report") -> "Report":
        """This report with another model's entries and sections added; both must be about the same split."""
        mine, theirs = (self.dataset, self.split, self.cases), (other.dataset, other.split, other.cases)
        if mine != theirs:
            raise ValueError(f"the reports are about different cases: {mine} and {theirs}.")
        if both := {e.model for e in self.entries} & {e.model for e in other.entries}:
            raise ValueError(f"both reports call a model {both.pop()!r}; give them different names.")
        return replace(
            self,
            entries=self.entries + other.entries,
            sections=self.sections + other.sections,
            bad_pictures=sorted({*self.bad_pictures, *other.bad_pictures}),
            notes=list(dict.fromkeys(self.notes + other.notes)),
        )

    def write(self, folder: Path | str) -> Path:
        """Write report.json, report.md and report.html (self-contained) into ``folder``; returns the HTML's path.

        The tables of cases that sections have lie beside them, named after model and protocol.
        """
        from dermis.evaluation.report_html import html
        from dermis.evaluation.report_markdown import markdown

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(self.json(), encoding="utf-8")
        (folder / "report.md").write_text(markdown(self), encoding="utf-8")
        (folder / "report.html").write_text(html(self), encoding="utf-8")
        for section in self.sections:
            if section.table is not None:
                name = re.sub(r"\W+", "-", f"{section.model}-{section.protocol}").strip("-")
                section.table.to_csv(folder / f"{name}.csv", index=False)
        return folder / "report.html"

    def json(self) -> str:
        """Numbers, classes and confusion counts; plots and pictures are in the HTML only."""
        content = {"version": 1} | {
            name: getattr(self, name)
            for name in (
                "title",
                "dataset",
                "split",
                "cases",
                "patients",
                "synthetic",
                "command",
                "n_boot",
                "notes",
                "bad_pictures",
            )
        }
        content["entries"] = [nulls(asdict(entry)) for entry in self.entries]
        content["sections"] = [
            {name: getattr(s, name) for name in ("model", "protocol", "about", "classes", "confusion")}
            for s in self.sections
        ]
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    @classmethod
    def read(cls, path: Path | str) -> "Report":
        """A report.json again, without plots and pictures."""
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content.pop("version", None) != 1:
            raise ValueError(f"{path} is not a report of version 1.")
        numbers = ("value", "low", "high")
        entries = [
            Entry(**e | {name: math.nan if e[name] is None else e[name] for name in numbers})
            for e in content.pop("entries")
        ]
        sections = [Section(**section) for section in content.pop("sections")]
        return cls(entries=entries, sections=sections, **content)


def entries(found: dict[str, Interval], **shared: object) -> list[Entry]:
    """Intervals by metric as entries; the draws without a value are told in the notes."""
    notes = str(shared.pop("notes", ""))
    out = []
    for metric, i in found.items():
        dropped = f"{i.undefined} of {i.n_boot} bootstrap draws had no value" if i.undefined else ""
        note = "; ".join(part for part in (notes, dropped) if part)
        numbers = {"value": i.value, "low": i.low, "high": i.high, "deviation": i.deviation}
        out.append(Entry(metric=metric, notes=note, **numbers, **shared))  # type: ignore[arg-type]
    return out


def models(items: Iterable[Entry]) -> list[str]:
    """The models' names in order of appearance."""
    return list(dict.fromkeys(e.model for e in items))


def nulls(values: dict[str, Any]) -> dict[str, Any]:
    """The same with None for NaN, which JSON does not have."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def _number(x: float) -> str:
    return f"{x:.3f}" if abs(x) < 10 else f"{x:.1f}"
