"""dermis leaderboard"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from dermis.commands.arguments import called


def leaderboard(
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...")],
    out: Path = Path("leaderboard"),
) -> int:
    """Set several models' suites side by side and write leaderboard.md and leaderboard.json.

    First measure each model: `dermis evaluate MODEL --suite derm --sets sets --out suites/MODEL`; then `dermis
    leaderboard suites`. A line per row, a column per model, the best in bold. Numbers on other cases than most models
    were measured on carry an asterisk and are not ranked; the mean rank is over the rows that all models have. Nothing
    is measured here, so the folders may come from other machines.

    Args:
        folders: what `dermis evaluate --suite` wrote, or folders above: rows/*.json are found at any depth
        out: folder for the tables
    """
    from dermis.evaluation.leaderboard import leaderboard as side_by_side
    from dermis.evaluation.leaderboard_markdown import markdown

    board = side_by_side(folders)
    sys.stdout.write(f"{markdown(board)}\nleaderboard: {board.write(out)}\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis leaderboard`"""
    return called(leaderboard, "leaderboard", arguments)
