"""Zip, HDF5, tar and NumPy files of pictures, opened once per process and safe to read from threads and forked workers.

A zip is indexed once and then read by offset with ``pread``, which has no file position to share, so threads and forked
workers read the same descriptor. HDF5 files are opened again after a fork, because their library keeps state that a
fork must not inherit.
"""

import os
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import FileIO

import h5py
import numpy as np

from dermis.pictures import PictureError
from dermis.pictures.names import Names, check_size
from dermis.pictures.npz import Npz, open_npz
from dermis.pictures.tar import Tar, open_tar
from dermis.pictures.zip_member import first_byte

ARCHIVES = {".zip": "zip", ".hdf5": "HDF5", ".h5": "HDF5", ".tar": "tar", ".npz": "npz"}


@dataclass(frozen=True)
class Zip:
    """A zip by its directory; stored and deflated members."""

    place: str
    file: FileIO
    index: dict[str, zipfile.ZipInfo]

    @cached_property
    def names(self) -> Names:
        return Names(self.index)

    def find(self, member: str) -> str | None:
        """``member`` as it is really spelt, or None."""
        return self.names.find(member) or self.names.find(member.replace("\\", "/"))

    def read(self, member: str) -> bytes:
        """The unpacked bytes; PictureError if there are none or they are damaged."""
        name = self.find(member)
        if name is None:
            raise PictureError(f"{member!r} is not in {self.place}.{self.names.nearest(member)}")
        info, where = self.index[name], f"{self.place}!/{name}"
        check_size(where, max(info.file_size, info.compress_size))
        if info.flag_bits & 1:
            raise PictureError(f"{where} is encrypted.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise PictureError(f"{where} is packed by method {info.compress_type}; only stored and deflated are read.")
        data = os.pread(self.file.fileno(), info.compress_size, first_byte(self.file, info, where))
        try:
            if info.compress_type == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(-15).decompress(data, info.file_size + 1)
        except zlib.error as error:
            raise PictureError(f"{where} is damaged: {error}.") from error
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise PictureError(f"{where} is damaged: its length or checksum is not the one in the zip's directory.")
        return data


@dataclass(frozen=True)
class HDF5:
    """An HDF5 file whose top-level keys hold encoded pictures, as ISIC 2024's."""

    place: str
    file: h5py.File

    @cached_property
    def names(self) -> Names:
        return Names(dict.fromkeys(self.file))

    def find(self, member: str) -> str | None:
        """``member`` as it is really spelt, or None."""
        return member if member in self.file else self.names.find(member)

    def read(self, member: str) -> bytes:
        """The unpacked bytes; PictureError if there are none or they are damaged."""
        found = self._read_at_once(member)
        return self._read_with_care(member) if found is None else found

    def _read_at_once(self, member: str) -> bytes | None:
        """A dataset of one opaque value, as ISIC 2024's all are, by the C interface: a third of the time. Else None."""
        try:
            item = h5py.h5d.open(self.file.id, member.encode())
        except (KeyError, TypeError, ValueError):
            return None
        if item.shape != () or item.dtype.kind != "V" or item.dtype.names or item.dtype.subdtype:
            return None
        check_size(f"{self.place}!/{member}", item.dtype.itemsize)
        value = np.empty((), item.dtype)
        try:
            item.read(h5py.h5s.ALL, h5py.h5s.ALL, value)
        except OSError as error:
            raise PictureError(f"{self.place}!/{member} is damaged: {error}.") from error
        return value.tobytes()

    def _read_with_care(self, member: str) -> bytes:
        name = self.find(member)
        if name is None:
            raise PictureError(f"{member!r} is not in {self.place}.{self.names.nearest(member)}")
        where = f"{self.place}!/{name}"
        try:
            item = self.file[name]
        except (KeyError, OSError) as error:
            raise PictureError(f"{where} is a link to what is not there.") from error
        if not isinstance(item, h5py.Dataset):
            raise PictureError(f"{where} is a group, not a picture.")
        if item.external:  # it would bring any file of this machine
            raise PictureError(f"{where} has its bytes in another file, which is not read.")
        check_size(where, item.nbytes)
        try:
            value = item[...]  # [()] would strip the zero bytes at the end of a string
        except OSError as error:
            raise PictureError(f"{where} is damaged: {error}.") from error
        if value.dtype == object and value.ndim == 0:
            value = np.asarray(value.item())
        if (value.dtype.kind in "SV" and value.ndim == 0) or (value.dtype == np.uint8 and value.ndim == 1):
            return value.tobytes()
        raise PictureError(f"{where} holds {item.dtype} of shape {item.shape}, not the bytes of an encoded picture.")


def open_archive(place: str) -> Zip | HDF5 | Tar | Npz:
    """The archive at ``place``, open since it was first asked for. Raises PictureError if it is none."""
    kind = ARCHIVES.get(os.path.splitext(place)[1].lower())
    if kind is None:
        raise PictureError(f"{place} is not an archive: `!/` may follow {', '.join(ARCHIVES)}.")
    try:
        status = os.stat(place)
        # Size and time are part of the key, so that an archive that was packed again is indexed again.
        version = (status.st_size, status.st_mtime_ns)
        if kind == "HDF5":
            return _open_hdf5(place, version, os.getpid())
        return {"zip": _open_zip, "tar": _open_tar, "npz": _open_npz}[kind](place, version)
    except (OSError, zipfile.BadZipFile, NotImplementedError, tarfile.TarError) as error:
        raise PictureError(f"{place} cannot be opened as {kind}: {error}.") from error


@lru_cache(maxsize=64)
def _open_zip(place: str, version: tuple[int, int]) -> Zip:
    with zipfile.ZipFile(place) as archive:
        index = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    return Zip(place, FileIO(place), index)


@lru_cache(maxsize=64)
def _open_hdf5(place: str, version: tuple[int, int], process: int) -> HDF5:
    return HDF5(place, h5py.File(place, "r"))


@lru_cache(maxsize=256)  # more than of others: an epoch's order goes through all shards at once
def _open_tar(place: str, version: tuple[int, int]) -> Tar:
    return open_tar(place)


@lru_cache(maxsize=64)
def _open_npz(place: str, version: tuple[int, int]) -> Npz:
    return open_npz(place, version)
