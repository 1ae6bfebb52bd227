"""A comparison with a published table as Markdown: our row, the published rows, remarks and what is missing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dermis.evaluation.comparison import Cell, Comparison
from dermis.evaluation.published import Block, Column
from dermis.evaluation.report import Entry
from dermis.evaluation.report_tables import SPREAD, spread

MISSING = "–"
MARK = "‡"
"""of a published model whose numbers are not comparable, or to be doubted"""


@dataclass(frozen=True)
class Digits:
    """How numbers are printed: shares with so many decimals, or in per cent; ranks and per cent with two."""

    decimals: int = 4
    per_cent: bool = False

    def __call__(self, x: float | None, deviation: float | None = None) -> str:
        if x is None:
            return MISSING
        if deviation is not None:
            return f"{self(x)} ± {self(deviation)}"
        if self.per_cent:
            return f"{100 * x:.2f}"
        return f"{x:.2f}" if x > 1 else f"{x:.{self.decimals}f}"

    def with_interval(self, entry: Entry) -> str:
        """``0.9333 [0.9011, 0.9570]``, over seeds ``0.9333 ± 0.0042 [0.9011, 0.9570]``"""
        if math.isnan(entry.value):
            return "undefined"
        return f"{self(entry.value, entry.deviation)} [{self(entry.low)}, {self(entry.high)}]"


def markdown(found: Comparison) -> str:
    """The whole page; numbers on other cases than the published ones carry an asterisk."""
    table = found.table
    lines = [f"# {table.name}: {found.model} beside the published numbers", "", f"{table.source}.", ""]
    lines += [
        f"- {name}: {about}." for name, about in {c.protocol.name: c.protocol.about for c in table.columns}.items()
    ]
    for block in table.blocks:
        lines += _grid(found, block)
    if not table.blocks:
        lines += _line_a_model(found)
    lines += ["", "Brackets hold the 95 % interval of a bootstrap over patients (else lesions, else cases)."]
    if table.deviations or spread(cell.entry for cell in found.cells if cell.entry is not None):
        lines += [SPREAD]
    lines += [""]
    lines += [f"- {remark}" for remark in remarks(found)]
    lines += ["", "```", found.command, "```"] if found.command else []
    return "\n".join([*lines, ""])


def _line_a_model(found: Comparison) -> list[str]:
    table, cells = found.table, found.cells
    digits, none = Digits(per_cent=table.per_cent), [None] * len(table.columns)
    head = [f"{c.title}, n = {c.n}" for c in table.columns]
    head += ["average" if len(table.averages) == 1 else f"average of {s.start + 1}-{s.stop}" for s in table.averages]
    lines = ["", "Per cent.", ""] if table.per_cent else [""]
    lines += ["| | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    ours = [_ours(cell, digits) for cell in cells] + [_our_mean(cells[s]) for s in table.averages]
    lines += [_row(f"**{found.model}**", ours)]
    for model, values in table.models.items():
        means = [_mean(values[s]) for s in table.averages]
        printed = map(digits, values, table.deviations.get(model, none))
        lines += [_row(_marked(found, model), [*printed, *means])]
    return lines


def _grid(found: Comparison, block: Block) -> list[str]:
    """A line per metric of each model, ours first; three decimals, as in the sources."""
    width, columns, digits = len(block.targets), found.table.columns[block.columns], Digits(decimals=3)
    title = f"{block.title} ({columns[0].data.title}, {columns[0].protocol.name}, n = {columns[0].n})"
    lines = ["", f"## {title}", "", "| | | " + " | ".join(block.targets) + " |", "|---|---|" + "---:|" * width]
    rows = {f"**{found.model}**": [_ours(cell, digits) for cell in found.cells[block.columns]]}
    for model in block.models:
        rows[_marked(found, model)] = [digits(value) for value in found.table.models[model][block.columns]]
    for name, values in rows.items():
        for start in range(0, len(columns), width):
            metric, line = columns[start].metric, values[start : start + width]
            lines.append(_row(f"{'' if start else name} | {metric}", line))
    return lines


def _marked(found: Comparison, model: str) -> str:
    return f"{model} {MARK}" if model in found.table.notes else model


def remarks(found: Comparison) -> list[str]:
    """What to know: published numbers that are not comparable, then our other cases, metrics and what is missing."""
    lines = [f"{MARK} {model}: {why}." for model, why in found.table.notes.items()]
    lines += found.table.remarks
    lines += [f"\\* {_unlike(c.column, c.entry)}" for c in found.cells if c.entry is not None and not c.comparable]
    digits = Digits(per_cent=found.table.per_cent)
    for cell in found.cells:
        if cell.entry is not None and cell.beside:
            others = ", ".join(f"{cell.name_of(entry)} {digits.with_interval(entry)}" for entry in cell.beside)
            lines.append(f"{_of(found, cell.column)}, n = {cell.entry.n}, also: {others}.")
        if cell.entry is not None and cell.entry.notes and not cell.column.class_name:
            lines.append(f"{_of(found, cell.column)}, {cell.entry.metric}: {cell.entry.notes}.")
    lines += found.notes
    for cell in found.cells:
        if cell.entry is None:
            what = cell.column.data.title if cell.why.startswith("missing: ") else _of(found, cell.column)
            lines.append(f"{what} ({cell.column.data.name}.parquet): {cell.why}")
    return list(dict.fromkeys(lines))


def _of(found: Comparison, column: Column) -> str:
    """The set, and the protocol where the table measures a set by several."""
    protocols = {c.protocol.name for c in found.table.columns if c.data.name == column.data.name}
    return column.data.title if len(protocols) == 1 else f"{column.data.title}, {column.protocol.name}"


def _unlike(column: Column, entry: Entry) -> str:
    if column.data.private:
        return f"{column.data.title} is private: measured on another set, of {entry.n} cases: not comparable."
    return f"{column.data.title}: measured on {entry.n} cases, published on {column.n}: not comparable."


def _ours(cell: Cell, digits: Digits) -> str:
    if cell.entry is None:
        return MISSING
    return digits.with_interval(cell.entry) + ("" if cell.comparable else " \\*")


def _our_mean(cells: Sequence[Cell]) -> str:
    """The average over all of its columns; none where one is missing or measured on other cases."""
    values = [cell.entry.value for cell in cells if cell.entry is not None and cell.comparable]
    return _mean(values) if len(values) == len(cells) else MISSING


def _mean(values: Sequence[float | None]) -> str:
    """The average; none where a value is missing."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return MISSING
    return f"{sum(known) / len(known) + 1e-9:.4f}"  # .71955 is rounded up, as the papers do


def _row(name: str, values: list[str]) -> str:
    return f"| {name} | " + " | ".join(values) + " |"
