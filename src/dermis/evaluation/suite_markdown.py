"""What a suite says of a model as Markdown: a line per row with its interval, what to know of it, what is missing."""

from collections.abc import Iterable

from dermis.evaluation.suite import SuiteFound

INTERVAL = "Brackets hold the 95 % interval of a bootstrap over patients (else lesions, else cases)."


def markdown(found: SuiteFound) -> str:
    """The whole page."""
    suite, total = found.suite, len(found.suite.rows)
    lines = [f"# {suite.name}, version {suite.version}: {found.model}", "", f"{suite.about}.".capitalize(), ""]
    if found.rows:
        lines += ["| row | metric | value | n |", "|---|---|---:|---:|"]
        lines += [f"| {name} | {row.metric} | {row.text()} | {row.n} |" for name, row in found.rows.items()]
        lines += ["", INTERVAL]
    before = f", {len(found.kept)} of them before" if found.kept else ""
    lines += [f"{len(found.rows)} of {total} rows were measured{before}.", ""]
    remarks = {name: [*notes, *_unreadable(found, name)] for name, notes in found.said.items()}
    lines += _together((note, name) for name, notes in remarks.items() for note in notes)
    lines += [f"- {note}." for note in found.notes]
    if found.missing:
        lines += ["", "## Not measured", ""]
        lines += _together((reason, name) for name, reason in found.missing.items())
    lines += ["", "```", found.command, "```"] if found.command else []
    return "\n".join([*lines, ""])


def _unreadable(found: SuiteFound, name: str) -> list[str]:
    count = found.rows[name].unreadable
    return [f"{count} cases are in no number: their pictures cannot be opened"] if count else []


def _together(said: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each sentence, with the rows that it is about."""
    rows: dict[str, list[str]] = {}
    for sentence, row in said:
        rows.setdefault(sentence, []).append(row)
    return [f"- {', '.join(names)}: {sentence.removesuffix('.')}." for sentence, names in rows.items()]
