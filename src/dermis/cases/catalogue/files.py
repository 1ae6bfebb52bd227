"""What lies below a folder: pictures found by name, whatever the case, the folder or the archive; and the tables."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from dermis.pictures import PictureError
from dermis.pictures.archive import ARCHIVES
from dermis.pictures.store import members
from dermis.pictures.tar import INDEX

PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".heic", ".heif")
WITH_EXTRA = (".dcm", ".heic", ".heif")
"""pictures that need an extra: a JPEG of the same name is found before them"""
TABLES = (".csv", ".tab", ".tsv", ".txt", ".xlsx", "")
WITHOUT_EXTENSIONS = (".hdf5", ".h5", ".npz")
"""archives whose members are pictures by what they hold, not by their names"""


@dataclass(frozen=True)
class Files:
    """The files below ``root``.

    ``pictures`` are manifest paths: relative to ``root``, ``/`` between folders, ``archive.zip!/member`` inside an
    archive; loose files come before archive members, so that an unpacked copy is preferred, and DICOM and HEIC last.
    """

    root: Path
    pictures: list[str]
    tables: list[Path]

    @classmethod
    def below(cls, path: Path | str) -> "Files":
        """Everything below a folder; of a single file, the pictures beside it and that one table.

        Raises ValueError if there is nothing at ``path``, or if an archive there cannot be opened.
        """
        path = Path(path)
        if not path.exists():
            raise ValueError(f"there is nothing at {path}.")
        root = path if path.is_dir() else path.parent
        found = [Path(folder) / name for folder, name in _walk(root)]
        loose = [f.relative_to(root).as_posix() for f in found if f.suffix.lower() in PICTURES]
        # a tar with an index is a shard that an import wrote: a copy of pictures, no part of the set
        archives = [f for f in found if f.suffix.lower() in ARCHIVES and not Path(f"{f}{INDEX}").exists()]
        places = {archive: archive.relative_to(root).as_posix() for archive in archives}
        inside = [f"{place}!/{member}" for archive, place in places.items() for member in _members(archive)]
        tables = [f for f in found if f.suffix.lower() in TABLES] if path.is_dir() else [path]
        pictures = sorted(loose + inside, key=lambda path: path.casefold().endswith(WITH_EXTRA))
        return cls(root, pictures, tables)

    def within(self, *prefixes: str) -> "Files":
        """Only the pictures with a folder or archive whose name starts with one of ``prefixes``, in any case."""
        wanted = tuple(p.casefold() for p in prefixes)
        inside = [p for p in self.pictures if any(part.startswith(wanted) for part in _key(p).split("/")[:-1])]
        return replace(self, pictures=inside)

    def find(self, name: str) -> str | None:
        """The picture called ``name``, which may lack extension and folders; None where there is none.

        ``NEL/Nel026`` finds ``release_v0/images/nel/NEL026.JPG`` but not ``FBL/Nel026.jpg``.
        """
        key = _key(name).lstrip("/")
        for candidate, path in self._by_stem.get(key.rsplit("/", 1)[-1], ()):
            if f"/{candidate}".endswith(f"/{key}"):
                return path
        return None

    def find_all(self, names: pd.Series, otherwise: str | None = None) -> pd.Series:
        """``find`` for a column; where nothing is found, the pattern ``otherwise`` filled with the name, or null."""
        found = [None if pd.isna(name) else self.find(name) or (otherwise and otherwise.format(name)) for name in names]
        return pd.Series(found, index=names.index, dtype=object)

    def placed(self) -> pd.DataFrame:
        """Per picture its path (``image``), its name without extension (``stem``) and its folders' names, outermost
        first (``folders``); an archive is a folder, called as it is without its extension."""
        parts = [_as_folder(path).split("/") for path in self.pictures]
        stems = [names[-1].rpartition(".")[0] or names[-1] for names in parts]
        return pd.DataFrame({"image": self.pictures, "stem": stems, "folders": [names[:-1] for names in parts]})

    @cached_property
    def _by_stem(self) -> dict[str, list[tuple[str, str]]]:
        stems: dict[str, list[tuple[str, str]]] = {}
        for path in self.pictures:
            key = _key(path)
            stems.setdefault(key.rsplit("/", 1)[-1], []).append((key, path))
        return stems


def _key(path: str) -> str:
    """How paths are compared: lower case, / between folders, an archive like a folder, no picture extension."""
    path = _as_folder(path.replace("\\", "/")).casefold()
    stem, _, extension = path.rpartition(".")
    return stem if f".{extension}" in PICTURES else path


def _as_folder(path: str) -> str:
    """``x/part_1.zip!/a.jpg`` -> ``x/part_1/a.jpg``; paths outside archives stay."""
    archive, mark, member = path.partition("!/")
    return f"{os.path.splitext(archive)[0]}/{member}" if mark else path


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(d for d in inner if not _junk(d))
        yield from ((folder, name) for name in sorted(names) if not _junk(name))


def _junk(name: str) -> bool:
    # macOS archives bring a shadow "._x.jpg" for every x.jpg, which no decoder reads; Excel locks x.xlsx by "~$x.xlsx"
    return name.startswith((".", "~$")) or name == "__MACOSX"


def _members(archive: Path) -> list[str]:
    try:
        names = members(archive)
    except PictureError as wrong:
        raise ValueError(f"{str(wrong).removesuffix('.')}: is the download complete?") from None
    if archive.suffix.lower() in WITHOUT_EXTENSIONS:
        return names
    shown = [n for n in names if not any(map(_junk, n.split("/")))]
    return [n for n in shown if os.path.splitext(n)[1].lower() in PICTURES]
