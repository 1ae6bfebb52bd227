"""A comparison with a published table as Markdown: our row, the published rows, remarks and what is missing."""

import math
from collections.abc import Sequence

from dermis.evaluation.comparison import Cell, Comparison
from dermis.evaluation.report import Entry

MISSING = "–"


def markdown(found: Comparison) -> str:
    """The whole page; numbers on other cases than the published ones carry an asterisk."""
    table, cells = found.table, found.cells
    head = [f"{c.title}, n = {c.n}" for c in table.columns]
    head += ["average" if len(table.averages) == 1 else f"average of {s.start + 1}-{s.stop}" for s in table.averages]
    lines = [f"# {table.name}: {found.model} beside the published numbers", "", f"{table.source}.", ""]
    lines += [
        f"- {name}: {about}." for name, about in {c.protocol.name: c.protocol.about for c in table.columns}.items()
    ]
    lines += ["", "| | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    ours = [_ours(cell) for cell in cells] + [_our_mean(cells[s]) for s in table.averages]
    lines += [_row(f"**{found.model}**", ours)]
    for model, values in table.models.items():
        means = [_mean(values[s]) for s in table.averages]
        lines += [_row(model, [*(f"{value:.4f}" for value in values), *means])]
    lines += ["", "Brackets hold the 95 % interval of a bootstrap over patients (else lesions, else cases).", ""]
    lines += [f"- {remark}" for remark in remarks(found)]
    lines += ["", "```", found.command, "```"] if found.command else []
    return "\n".join([*lines, ""])


def remarks(found: Comparison) -> list[str]:
    """What to know about our row: other cases than the published ones, other metrics, missing sets; a line each."""
    lines = [
        f"\\* {c.column.data.title}: measured on {c.entry.n} cases, published on {c.column.n}: not comparable."
        for c in found.cells
        if c.entry is not None and not c.comparable
    ]
    for cell in found.cells:
        if cell.entry is not None and cell.beside:
            others = ", ".join(f"{entry.metric} {_with_interval(entry)}" for entry in cell.beside)
            lines.append(f"{cell.column.data.title}, n = {cell.entry.n}, also: {others}.")
    lines += found.notes
    lines += [f"{c.column.data.title} ({c.column.data.name}.parquet): {c.why}" for c in found.cells if c.entry is None]
    return list(dict.fromkeys(lines))


def _ours(cell: Cell) -> str:
    if cell.entry is None:
        return MISSING
    return _with_interval(cell.entry) + ("" if cell.comparable else " \\*")


def _with_interval(entry: Entry) -> str:
    if math.isnan(entry.value):
        return "undefined"
    return f"{entry.value:.4f} [{entry.low:.4f}, {entry.high:.4f}]"


def _our_mean(cells: Sequence[Cell]) -> str:
    """The average over all of its columns; none where one is missing or measured on other cases."""
    values = [cell.entry.value for cell in cells if cell.entry is not None and cell.comparable]
    return _mean(values) if len(values) == len(cells) else MISSING


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values) + 1e-9:.4f}"  # .71955 is rounded up, as the papers do


def _row(name: str, values: list[str]) -> str:
    return f"| {name} | " + " | ".join(values) + " |"
