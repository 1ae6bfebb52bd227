"""A leaderboard as Markdown: a line per row, a column per model, the best in bold, what is not comparable marked."""

import math

from dermis.evaluation.leaderboard import Leaderboard
from dermis.evaluation.suite_markdown import INTERVAL
from dermis.evaluation.suite_row import Measured

MISSING = "–"


def markdown(board: Leaderboard) -> str:
    """The whole page; numbers that are not ranked carry an asterisk."""
    names = list(board.models)
    lines = [f"# Leaderboard: {board.suite}, version {board.version}", ""]
    lines += ["| row | metric | n | " + " | ".join(map(_text, names)) + " |", "|---|---|---:|" + "---:|" * len(names)]
    for row, own in board.rows.items():
        cells = [_cell(board, row, own.get(name), name) for name in names]
        sizes = "/".join(str(n) for n in dict.fromkeys(own[name].n for name in names if name in own))
        metric = _text(next(iter(own.values())).metric)
        lines.append(f"| {_text(row)} | {metric} | {sizes} | " + " | ".join(cells) + " |")
    means = [MISSING if math.isnan(rank := board.mean_rank(name)) else f"{rank:.2f}" for name in names]
    lines.append(f"| mean rank of {len(board.shared)} rows | | | " + " | ".join(means) + " |")
    counts = [str(sum(name in own for own in board.rows.values())) for name in names]
    lines += ["| rows measured | | | " + " | ".join(counts) + " |", ""]
    lines += [INTERVAL, "More is better in every row."]
    lines += [f"The mean rank is over the rows in which all {len(names)} models are ranked, 1 is best.", ""]
    lines += [f"- \\* {_unlike(row, own)}" for row, own in board.rows.items() if len(board.ranks[row]) < len(own)]
    lines += [f"- {note}" for note in board.notes]
    return "\n".join([*lines, ""])


def _text(name: str) -> str:
    """What a file says, so that it stays within its cell."""
    return " ".join(name.split()).replace("|", "\\|")


def _cell(board: Leaderboard, row: str, found: Measured | None, name: str) -> str:
    if found is None:
        return MISSING
    number, *limits = found.text().split(" ", 1)
    if name not in board.ranks[row]:
        return f"{found.text()} \\*"
    return " ".join([f"**{number}**" if name in board.best(row) else number, *limits])


def _unlike(row: str, own: dict[str, Measured]) -> str:
    """Which models a row does not rank, and in what they differ."""
    differ = [
        what
        for what, values in {
            "cases or pictures of them": {found.cases_key for found in own.values()},
            "numbers of cases": {found.n for found in own.values()},
            "numbers of unreadable pictures": {found.unreadable for found in own.values()},
            "seeds": {found.seed for found in own.values()},
            "settings": {found.settings_key for found in own.values()},
        }.items()
        if len(values) > 1
    ]
    return f"{_text(row)}: not ranked, for the models were measured on different {', '.join(differ)}."
