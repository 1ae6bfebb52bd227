"""A progress bar for work that reports (done, total); a plain line each tenth where nobody watches a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Report = Callable[[int, int], None]


@contextmanager
def counting(title: str) -> Iterator[Report]:
    """Yields what a room calls with (done, total)."""
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(title: str) -> Report:
    tenths_said = 0

    def say(done: int, total: int) -> None:
        nonlocal tenths_said
        tenths = done * 10 // total if total else 0
        if tenths > tenths_said:
            sys.stderr.write(f"{title}: {done} of {total}\n")
        tenths_said = tenths % 10  # the next piece of work starts at 0 again

    return say
