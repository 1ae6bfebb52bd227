"""Bytes of a picture: a file, a member of a zip or tar (``x.zip!/member``), a key of an HDF5 file (``x.hdf5!/key``), a
row of a NumPy archive (``x.npz!/array/17``).

Public sets are read as they were downloaded. A folder is listed once per process.
"""

import os
import stat
from functools import lru_cache
from pathlib import Path

from dermis.pictures import PictureError
from dermis.pictures.archive import open_archive
from dermis.pictures.names import Names, check_size


def read_bytes(root: Path | str, path: str) -> bytes:
    """The encoded picture at ``path``, relative to ``root``.

    Looks again without regard to case (folders, name, extension) and with backslashes read as slashes before it gives
    up. Raises PictureError: nothing there (names the nearest), path outside ``root``, not a plain file, unreadable.
    """
    place, member = _place(root, path)
    place = _find(place)
    return _read_file(place) if member is None else open_archive(place).read(member)


def exists(root: Path | str, path: str) -> bool:
    """Would ``read_bytes`` find ``path``? Asks listings, not files, so that checking 400,000 rows takes a second."""
    try:
        place, member = _place(root, path)
        if member is not None:
            return open_archive(_find(place)).find(member) is not None
        folder, name = os.path.split(place)
        return name in _listing(folder).names or bool(_find(place))
    except PictureError:
        return False


def members(path: Path | str) -> list[str]:
    """Names of everything in the archive ``path``, in its own order: what may stand behind ``!/``.

    Raises PictureError if it is no archive that can be read.
    """
    return list(open_archive(_find(os.path.abspath(path))).names.names)


def _place(root: Path | str, path: str) -> tuple[str, str | None]:
    """The file on disk and, if ``path`` points into an archive, the member inside it."""
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise PictureError(f"{path!r} is not a path.")
    outer, mark, member = path.partition("!/")
    base = os.path.abspath(root)
    place = os.path.abspath(os.path.join(base, outer))
    if place != base and not place.startswith(os.path.join(base, "")):
        raise PictureError(f"{path!r} leads out of the image root {base}.")
    if "\\" in outer and not os.path.exists(place):
        return _place(root, path.replace("\\", "/"))  # checked again: `..\\..` must not slip through
    return place, member if mark else None


def _find(place: str) -> str:
    """``place`` as it is really spelt on disk; raises PictureError naming the first part that is not there."""
    if os.path.exists(place):
        return place
    folder, name = os.path.split(place)
    folder = _find(folder)
    if not os.path.isdir(folder):
        raise PictureError(f"{folder} is not a folder, so {name!r} cannot lie in it.")
    found = _listing(folder).find(name)
    if found is None:
        raise PictureError(f"{name!r} is not in {folder}.{_listing(folder).nearest(name)}")
    return os.path.join(folder, found)


def _read_file(place: str) -> bytes:
    try:
        status = os.stat(place)
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{place} is a {'folder' if stat.S_ISDIR(status.st_mode) else 'device'}, not a file.")
        check_size(place, status.st_size)
        with open(place, "rb") as file:
            return file.read()
    except OSError as error:
        raise PictureError(f"{place} cannot be read: {error.strerror}.") from error


@lru_cache(maxsize=4096)
def _listing(folder: str) -> Names:
    try:
        return Names(frozenset(os.listdir(folder)))
    except (FileNotFoundError, NotADirectoryError):
        return Names(frozenset())
    except OSError as error:
        raise PictureError(f"{folder} cannot be listed: {error.strerror}.") from error
