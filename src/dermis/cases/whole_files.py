"""Files that appear whole: written beside their places, and put there when all of them are written."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(*paths: Path) -> Iterator[list[Path]]:
    """Yields for each of ``paths`` a file to write, which then takes its place, in this order.

    After an error, a full disk for one, the older files are as they were and nothing is left beside them. A link stays
    a link, and a file keeps its permissions. Raises OSError, before anything is written, for a file that may not be.
    """
    written = [_beside(path) for path in paths]
    try:
        yield [scratch for scratch, _ in written]
        for scratch, place in written:
            if scratch != place:
                _finish(scratch, place)
        for scratch, place in written:
            scratch.replace(place)
    finally:
        for scratch, place in written:
            if scratch != place:
                scratch.unlink(missing_ok=True)


def _beside(path: Path) -> tuple[Path, Path]:
    """(where to write, where it belongs); the same for what cannot be replaced, such as /dev/stdout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        return path, path
    place = Path(os.path.realpath(path))  # of a link the file that it leads to
    if place.exists():
        place.open("r+b").close()  # a file without the right to write could be replaced all the same
    # the name's end stays: pandas compresses what ends in .csv.gz
    return place.with_name(f".writing-{os.getpid()}-{place.name}"), place


def _finish(scratch: Path, place: Path) -> None:
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    if place.exists():
        shutil.copymode(place, scratch)
