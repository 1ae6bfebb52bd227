"""A report as Markdown: the numbers with their intervals, no pictures."""

from dermis.evaluation.report import Report
from dermis.evaluation.report_tables import (
    SPREAD,
    Table,
    meaning,
    notes_of,
    protocols,
    sizes_of,
    spread,
    tables,
    warnings,
)


def markdown(report: Report) -> str:
    """The whole report; tables of classes and groups come after those over all cases."""
    lines = [f"# {report.title}", "", *_about(report)]
    for protocol in protocols(report):
        lines += [f"## {protocol}", ""]
        for section in report.sections:
            if section.protocol == protocol and section.about:
                lines += [f"{section.model}: {section.about}", ""]
        for table in tables(report, protocol):
            if table.rows:
                lines += _table(table)
    metrics = dict.fromkeys(e.metric for e in report.entries)
    meanings = dict.fromkeys((m, meaning(m)) for m in metrics if meaning(m))
    if meanings:
        lines += ["## What the numbers mean", "", *(f"- {metric}: {words}." for metric, words in meanings), ""]
    return "\n".join(lines)


def _about(report: Report) -> list[str]:
    lines = [line for warning in warnings(report) for line in (f"**{warning}**", "")]
    lines += [f"{report.dataset}, split {report.split}: {report.cases} cases of {report.patients} patients or lesions."]
    lines += ["Brackets hold the 95 % interval of a bootstrap over patients (else lesions, else cases)."]
    lines += [SPREAD, ""] if spread(report.entries) else [""]
    if report.bad_pictures:
        shown = ", ".join(report.bad_pictures[:20]) + (" …" if len(report.bad_pictures) > 20 else "")
        lines += [f"Left out, because their pictures cannot be read: {len(report.bad_pictures)} ({shown}).", ""]
    lines += [f"- {note}" for note in report.notes] + ([""] if report.notes else [])
    if report.command:
        lines += ["```", report.command, "```", ""]
    return lines


def _table(table: Table) -> list[str]:
    lines = [f"### {table.title}", "", "| | " + " | ".join(map(_cell, table.head)) + " | n | patients | notes |"]
    lines += ["|---|" + "---:|" * len(table.head) + "---:|---:|---|"]
    for name, row in table.rows:
        cells = [*(e.text() if e is not None else "–" for e in row), *sizes_of(row), _cell(notes_of(row))]
        lines += [f"| {_cell(name)} | {' | '.join(cells)} |"]
    return [*lines, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
