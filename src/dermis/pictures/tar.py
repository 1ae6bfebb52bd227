"""Tars of pictures, read by offset: dermis' own shards, and anybody's uncompressed tar.

``shard-00000.tar`` may lie beside ``shard-00000.tar.npy``, its index: a sorted NumPy array of (name, offset, bytes),
mapped into memory, so that opening a shard costs microseconds, workers share its pages, and any member is one binary
search and one ``pread`` away. A tar without an index, or with the index of another, is listed once per process.

Bytes of a name that are no UTF-8 (Latin-1 of an old tar) are spelt as Python spells them: ``m\\xfcller.jpg``.
"""

import os
import tarfile
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path

import numpy as np

from dermis.pictures import PictureError
from dermis.pictures.names import Names, check_size

INDEX = ".npy"
NAME = 100  # bytes of a name in a header
Member = tuple[str, int, int]
"""name, offset of its first byte in the tar, bytes"""


@dataclass(frozen=True)
class Tar:
    """A tar by its index, whose rows are ``Member``, sorted by name in UTF-8."""

    place: str
    file: FileIO
    index: np.ndarray

    @cached_property
    def names(self) -> Names:
        return Names(dict.fromkeys(name.decode() for name in self.index["name"].tolist()))

    def find(self, member: str) -> str | None:
        """``member`` as it is really spelt, or None."""
        if self._row(member) is not None:
            return member
        return self.names.find(member) or self.names.find(member.replace("\\", "/"))

    def read(self, member: str) -> bytes:
        """The bytes of a member; PictureError if there are none or they are damaged."""
        row = self._row(member)
        if row is None:
            name = self.find(member)
            if name is None:
                raise PictureError(f"{member!r} is not in {self.place}.{self.names.nearest(member)}")
            return self.read(name)
        where, count = f"{self.place}!/{member}", int(row["bytes"])
        check_size(where, count)
        # with the header before it, which names the member: a wrong index must not bring another picture
        block = os.pread(self.file.fileno(), tarfile.BLOCKSIZE + count, int(row["offset"]) - tarfile.BLOCKSIZE)
        # names that are not plain stand elsewhere, or in another coding
        plain = member.isascii() and "\\" not in member and len(member) <= NAME
        named = not plain or block[:NAME].rstrip(b"\0") == member.encode()
        if len(block) != tarfile.BLOCKSIZE + count or not named:
            raise PictureError(f"{where} is not where the tar's index says: the tar is damaged, or another one.")
        return block[tarfile.BLOCKSIZE :]

    def _row(self, member: str) -> np.void | None:
        wanted = member.encode(errors="backslashreplace")
        at = bisect_left(self.index, wanted, key=lambda row: row["name"])
        return self.index[at] if at < len(self.index) and self.index[at]["name"] == wanted else None


def open_tar(place: str) -> Tar:
    """The tar at ``place``. Raises OSError and tarfile.TarError for what is none."""
    index = _stored_index(place)
    return Tar(place, FileIO(place), _listed(place) if index is None else index)


def index_of(members: list[Member]) -> np.ndarray:
    """The rows of an index."""
    rows = sorted((name.encode(), *rest) for name, *rest in members)
    widest = max((len(row[0]) for row in rows), default=1)
    kinds = [("name", f"S{widest}"), ("offset", "<i8"), ("bytes", "<i8")]
    return np.array(rows, dtype=kinds)


def _stored_index(place: str) -> np.ndarray | None:
    """The index beside the tar; None where there is none of this tar."""
    path = Path(place + INDEX)
    if not path.is_file():
        return None
    try:
        index = np.load(path, mmap_mode="r", allow_pickle=False)
        ends = (index["offset"] + index["bytes"]).max(initial=0)
        begins, least = index["offset"].min(initial=tarfile.BLOCKSIZE), index["bytes"].min(initial=0)
    except (ValueError, IndexError, TypeError, OSError):
        return None  # no index of ours: the tar itself says what is in it
    blocks = -(-int(ends) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    whole = os.path.getsize(place)
    inside = begins >= tarfile.BLOCKSIZE and least >= 0 and blocks <= whole <= blocks + 2 * tarfile.RECORDSIZE
    return index if inside else None


def _listed(place: str) -> np.ndarray:
    """The regular files in a tar, by their headers; of those with one name the last, which replaced the others."""
    with tarfile.open(place, "r:", encoding="utf-8", errors="backslashreplace") as opened:
        last = {m.name: (m.name, m.offset_data, m.size) for m in opened if m.isreg() and not m.sparse}
    return index_of(list(last.values()))
