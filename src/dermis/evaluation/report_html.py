"""A report as one HTML file that needs nothing else: tables with intervals, plots, pictures, light and dark."""

import base64
import math
from html import escape
from importlib.resources import files

from dermis.evaluation.plots import plots_of
from dermis.evaluation.report import Entry, Example, Report, Section
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

HEADLINES = ("macro AUROC", "balanced accuracy", "accuracy", "recall@10", "macro precision@10")


def html(report: Report) -> str:
    """The page. Everything that comes from data is escaped."""
    style = (files("dermis.evaluation") / "report.css").read_text(encoding="utf-8")
    body = [
        f"<header><h1>{escape(report.title)}</h1>{_about(report)}</header><main>{_headline(report)}",
        *(_protocol(report, protocol) for protocol in protocols(report)),
        _words(report),
        _bad_pictures(report),
        _origin(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)}</title><style>{style}</style></head><body>{''.join(body)}"
        "<footer>Research software. Not a medical device; not for diagnosis.</footer></main></body></html>\n"
    )


def _about(report: Report) -> str:
    about = (
        f'<p class="soft">{escape(report.dataset)}, split {escape(report.split)}: {report.cases} cases of '
        f"{report.patients} patients or lesions. Numbers stand with their 95 % interval: patients (else lesions) drawn "
        "again and again. Two models whose intervals overlap widely have not been told apart."
        f"{f' {SPREAD}' if spread(report.entries) else ''}</p>"
    )
    return "".join(f'<div class="banner">{escape(warning)}</div>' for warning in warnings(report)) + about


def _headline(report: Report) -> str:
    overall = [e for e in report.entries if not e.subgroup and not e.class_name and e.metric in HEADLINES]
    best = {(e.protocol, e.model): e for e in sorted(overall, key=lambda e: -HEADLINES.index(e.metric))}
    cards = "".join(
        f'<div class="card"><span class="soft">{escape(e.protocol)}</span><b>{e.value:.3f}</b>{_hint(e.metric)} '
        f'<span class="soft">{_limits(e)}<br>{escape(e.model)}</span></div>'
        for e in overall
        if best[e.protocol, e.model] is e and not math.isnan(e.value)
    )
    return f'<div class="headline">{cards}</div>' if cards else ""


def _protocol(report: Report, protocol: str) -> str:
    parts = [f"<h2>{escape(protocol)}</h2>"]
    sections = [s for s in report.sections if s.protocol == protocol]
    several = len({e.model for e in report.entries}) > 1
    for about in dict.fromkeys(s.about for s in sections if s.about):
        parts.append(f"<p>{escape(about)}</p>")
    whole, *others = tables(report, protocol)
    if whole.rows:
        parts.append(_table(whole))
    for section in sections:
        parts.append(_plots(section, several) + _pictures(section, several))
    if others:
        inside = "".join(f"<h3>{escape(table.title)}</h3>{_table(table)}" for table in others)
        parts.append(f"<details><summary>Per class and by group</summary>{inside}</details>")
    return "".join(parts)


def _table(table: Table) -> str:
    single = len(table.head) == 1
    head = ["", "value", "95 % interval", ""] if single else ["", *table.head]
    head += ["n", "patients", ""]
    rows = []
    for name, cells in table.rows:
        n, patients = sizes_of(cells)
        if single:
            first = next(e for e in cells if e is not None)
            values = f"<td>{first.text().split(' [')[0]}</td><td>{_limits(first)}</td><td>{_whisker(first)}</td>"
        else:
            values = "".join(f"<td>{e.text() if e is not None else '–'}</td>" for e in cells)
        counts = f'<td>{n}</td><td>{patients}</td><td class="notes">{escape(notes_of(cells))}</td>'
        rows.append(f"<tr><td>{_hint(name)}</td>{values}{counts}</tr>")
    headings = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = f"<thead><tr>{headings}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="card scroll"><table>{body}</table></div>'


def _hint(name: str) -> str:
    words = meaning(name)
    return f'<abbr title="{escape(words)}">{escape(name)}</abbr>' if words else escape(name)


def _limits(entry: Entry) -> str:
    return entry.text().partition("[")[2].strip("]").replace(", ", " to ")


def _whisker(entry: Entry) -> str:
    """The interval as a line on 0 to 1; nothing for numbers on another scale."""
    if not all(0 <= x <= 1 for x in (entry.value, entry.low, entry.high)) or "rank" in entry.metric:
        return ""
    low, dot, high = (4 + 142 * x for x in (entry.low, entry.value, entry.high))
    return (
        '<svg class="whisker" viewBox="0 0 150 14" aria-hidden="true"><path d="M4 7H146M4 3v8M75 4v6M146 3v8"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="7" y2="7"/><circle cx="{dot:.1f}" cy="7" r="3.5"/></svg>'
    )


def _plots(section: Section, several: bool) -> str:
    if section.scores is None or section.labels is None:
        return ""
    of = f" ({escape(section.model)})" if several else ""
    figures = "".join(
        f'<figure class="card">{svg}<figcaption>{escape(title)}{of}</figcaption></figure>'
        for title, svg in plots_of(section.scores, section.labels, section.classes).items()
    )
    return f'<div class="plots">{figures}</div>'


def _pictures(section: Section, several: bool) -> str:
    if not section.examples:
        return ""
    of = f" ({escape(section.model)})" if several else ""
    how = "Wrong: the most confident mistakes. Right: drawn at random."
    figures = "".join(_picture(example) for example in section.examples)
    return f'<h3>Examples{of}</h3><p class="soft">{how}</p><div class="pictures">{figures}</div>'


def _picture(example: Example) -> str:
    right = example.truth == example.called
    verdict = (
        f"<b>{escape(example.truth)}</b>, recognised"
        if right
        else f"<b>{escape(example.truth)}</b>, called {escape(example.called)}"
    )
    source = base64.b64encode(example.jpeg).decode()
    return (
        f'<figure class="{"right" if right else "wrong"}"><img alt="{escape(example.truth)}" '
        f'src="data:image/jpeg;base64,{source}"><figcaption>{verdict}<br><span class="soft">probability '
        f"{example.score:.2f}, {escape(example.case_id)}</span></figcaption></figure>"
    )


def _words(report: Report) -> str:
    known = dict.fromkeys((e.metric, meaning(e.metric)) for e in report.entries if meaning(e.metric))
    items = "".join(f"<li><b>{escape(metric)}</b>: {escape(words)}.</li>" for metric, words in known)
    return f"<h2>What the numbers mean</h2><ul>{items}</ul>" if items else ""


def _bad_pictures(report: Report) -> str:
    if not report.bad_pictures:
        return "<h2>Pictures that could not be read</h2><p>None.</p>"
    cases = ", ".join(map(escape, report.bad_pictures))
    return (
        f"<h2>Pictures that could not be read</h2><p>{len(report.bad_pictures)} cases are in no number of this report."
        f"</p><details><summary>Which</summary><p>{cases}</p></details>"
    )


def _origin(report: Report) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    command = f"<pre>{escape(report.command)}</pre>" if report.command else "<p>Called from Python.</p>"
    seeds = ", ".join(str(s) for s in sorted({e.seed for e in report.entries}))
    return f"<h2>How it was made</h2>{f'<ul>{notes}</ul>' if notes else ''}{command}<p>Seed {seeds}.</p>"
