"""A folder that appears whole: written beside its place, and put there when all of it is written."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Yields an empty folder to write into, which then takes the place of ``folder``; after an error nothing changed.

    The older one is moved to ``aside_of(folder)`` and removed last, so that one of them is there at every moment.
    """
    scratch = folder.with_name(f".writing-{folder.name}-{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if folder.exists():
            shutil.rmtree(aside_of(folder), ignore_errors=True)
            folder.rename(aside_of(folder))
        scratch.rename(folder)
        shutil.rmtree(aside_of(folder), ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def aside_of(folder: Path) -> Path:
    """Where the older folder lies between the two renames; a process that dies there leaves it."""
    return folder.with_name(f".before-{folder.name}")
