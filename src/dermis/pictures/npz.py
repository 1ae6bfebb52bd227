"""NumPy archives of pictures (``x.npz!/train_images/17``), as MedMNIST's: a picture is a row of an array of uint8.

An array that was stored as it is (``numpy.savez``) is read by offset, a row at a time. A deflated one
(``numpy.savez_compressed``, and MedMNIST's own files) has no rows to jump to: it is unpacked once per process and
held. A row comes as a PNG, because pictures are encoded bytes here; deflating it would only cost time.
"""

import math
import os
import re
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO, FileIO

import numpy as np
from PIL import Image

from dermis.pictures import PictureError
from dermis.pictures.names import Names, check_size
from dermis.pictures.zip_member import first_byte

CHANNELS = (1, 3, 4)
MAX_HELD = 4 << 30  # bytes of a deflated array, for each process holds all of it
ARRAYS_HELD = 6


@dataclass(frozen=True)
class Stack:
    """An array of pictures by its header: (pictures, height, width) or (pictures, height, width, channels)."""

    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    header: int
    """bytes of the member before its first row"""
    fortran: bool

    @property
    def row(self) -> int:
        """Bytes of a picture."""
        return math.prod(self.shape[1:])

    @property
    def in_place(self) -> bool:
        return self.info.compress_type == zipfile.ZIP_STORED and not self.fortran


@dataclass(frozen=True)
class Npz:
    """A NumPy archive by the headers of its arrays; those that hold no pictures (labels) are not members."""

    place: str
    version: tuple[int, int]
    file: FileIO
    stacks: dict[str, Stack]

    @cached_property
    def names(self) -> Names:
        return Names(dict.fromkeys(member_names(self.stacks)))

    def find(self, member: str) -> str | None:
        """``member`` as it is really spelt, or None."""
        name, _, row = member.replace("\\", "/").rpartition("/")
        # not by a listing of all rows, which is only made for a name that is spelt otherwise
        if name in self.stacks and re.fullmatch("0|[1-9][0-9]{,17}", row) and int(row) < self.stacks[name].shape[0]:
            return f"{name}/{row}"
        return self.names.find(member)

    def read(self, member: str) -> bytes:
        """The picture as a PNG; PictureError if there is none or it is damaged."""
        found = self.find(member)
        if found is None:
            raise PictureError(f"{member!r} is not in {self.place}.{self.names.nearest(member)}")
        name, _, row = found.rpartition("/")
        stack, where = self.stacks[name], f"{self.place}!/{found}"
        check_size(where, stack.row)
        if stack.in_place:
            start = first_byte(self.file, stack.info, where) + stack.header + int(row) * stack.row
            data = os.pread(self.file.fileno(), stack.row, start)
            if len(data) != stack.row:
                raise PictureError(f"{where} is damaged: the file ends within it.")
            picture = np.frombuffer(data, np.uint8).reshape(stack.shape[1:])
        else:
            picture = _held(self.place, self.version, name, stack.info.file_size)[int(row)]
        return png(picture)


def png(picture: np.ndarray) -> bytes:
    """A picture of uint8 as a PNG that is not deflated."""
    squeezed = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    buffer = BytesIO()
    Image.fromarray(squeezed).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def open_npz(place: str, version: tuple[int, int]) -> Npz:
    """The NumPy archive at ``place``. Raises what ``stacks_in`` raises."""
    return Npz(place, version, FileIO(place), stacks_in(place))


def stacks_in(place: str) -> dict[str, Stack]:
    """The arrays of pictures at ``place``, by their headers. Raises OSError, BadZipFile or PictureError for none."""
    with zipfile.ZipFile(place) as archive:
        return dict(_stacks(archive, place))


def member_names(stacks: Mapping[str, Stack]) -> list[str]:
    """``train_images/0``, ``train_images/1``, …: what may stand behind ``!/``."""
    return [f"{name}/{i}" for name, stack in stacks.items() for i in range(stack.shape[0])]


def _stacks(archive: zipfile.ZipFile, place: str) -> Iterator[tuple[str, Stack]]:
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            continue
        try:
            with archive.open(info) as file:
                shape, fortran, dtype = _header(file)
                header = file.tell()
        except (ValueError, zlib.error) as error:
            raise PictureError(f"{place}!/{info.filename} is no array: {error}.") from error
        except RuntimeError as error:  # zipfile's for a password, and for a packing that it does not know
            raise PictureError(f"{place}!/{info.filename} cannot be unpacked: {error}.") from error
        if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in CHANNELS):
            continue
        if 0 in shape[1:]:  # no picture
            continue
        if header + math.prod(shape) != info.file_size:
            raise PictureError(f"{place}!/{info.filename} is damaged: its length is not the one in its header.")
        yield info.filename.removesuffix(".npy"), Stack(info, shape, header, fortran)


def _header(file: zipfile.ZipExtFile) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order (is it Fortran's?) and type of an array, which is not read."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


_loading = threading.Lock()  # threads that ask for the first rows at once must not each unpack a gigabyte


def _unlock() -> None:
    global _loading
    _loading = threading.Lock()


os.register_at_fork(after_in_child=_unlock)  # whoever held it is not in the child


def _held(place: str, version: tuple[int, int], name: str, size: int) -> np.ndarray:
    if size > MAX_HELD:
        raise PictureError(
            f"{place}!/{name} has {size:,} bytes, and of a deflated array all must be held in memory; {MAX_HELD:,} may "
            "be. Save it again with numpy.savez."
        )
    with _loading:
        return _unpacked(place, version, name)


@lru_cache(maxsize=ARRAYS_HELD)
def _unpacked(place: str, version: tuple[int, int], name: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(place) as archive, archive.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise PictureError(f"{place}!/{name} is damaged: {error}.") from error
