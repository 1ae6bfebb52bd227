"""Cases in tars that webdataset reads too, each beside an index of offsets by which any case is read alone.

    shards/  shards.json  shard-00000.tar  shard-00000.tar.npy  shard-00001.tar  …

A case is the members ``00000042.image.jpg``, ``00000042.dermoscopy.jpg``, ``00000042.mask.png`` and ``00000042.json``
(its row): the pictures byte for byte as they were. The manifest that comes back names pictures as
``shard-00000.tar!/00000042.image.jpg``, so all of dermis reads shards as it reads files: in any order, from any place
on. What is interrupted goes on where it stopped; a shard is there whole, with its index, or not at all.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from dermis.cases.columns import PATHS
from dermis.cases.manifest import Manifest
from dermis.cases.whole_files import written_whole
from dermis.pictures import PictureError
from dermis.pictures.dicom import is_dicom
from dermis.pictures.header import read_header
from dermis.pictures.store import read_bytes
from dermis.pictures.tar import INDEX, Member, index_of
from dermis.progress import Report

VERSION = 1
CASES = 1000
"""in a shard, where nobody says otherwise"""
NAMES = {
    "JPEG": "jpg", "PNG": "png", "TIFF": "tif", "WebP": "webp", "BMP": "bmp", "GIF": "gif", "DICOM": "dcm",
    "HEIC": "heic",
}  # fmt: skip
"""what the header of a picture without a file name says -> extension"""


def write_shards(
    manifest: Manifest, folder: Path | str, cases_per_shard: int = CASES, progress: Report = lambda done, total: None
) -> tuple[Manifest, list[str]]:
    """Write the cases, in their order, and return the manifest of the shards, with notes.

    Of a picture that cannot be read that manifest has the path where it would lie, and a note counts them. Memory is
    the table and one picture.

    Raises ValueError if ``folder`` holds shards of other cases, or something else.
    """
    if cases_per_shard < 1:
        raise ValueError(f"a shard has at least 1 case, not {cases_per_shard}.")
    folder, columns = Path(folder), [c for c in PATHS if c in manifest]
    _begin(folder, manifest, columns, cases_per_shard)
    placed: dict[str, list[str | None]] = {column: [] for column in columns}
    lost: dict[str, int] = dict.fromkeys(columns, 0)
    sentences: list[str] = []
    for first in range(0, len(manifest), cases_per_shard):
        name = f"shard-{first // cases_per_shard:05d}.tar"
        cases = manifest.table.iloc[first : first + cases_per_shard]
        if not (folder / (name + INDEX)).is_file():
            sentences += _write_shard(folder / name, cases, manifest.root, columns)
        members = np.load(folder / (name + INDEX), allow_pickle=False)["name"].tolist()
        there = {tuple(member.split(".")[:2]): member for member in map(bytes.decode, members)}
        for column in columns:
            for row, path in cases[column].items():
                missing = isinstance(path, str) and (f"{row:08d}", column) not in there
                lost[column] += missing
                member = f"{row:08d}.{column}.missing" if missing else there.get((f"{row:08d}", column))
                placed[column].append(member and f"{name}!/{member}")
        progress(first + len(cases), len(manifest))
    table = manifest.table.assign(**{c: pd.Series(paths, dtype=object) for c, paths in placed.items()})
    notes = [
        f"{column}: {count} of {len(table)} pictures cannot be read and are not in the shards."
        for column, count in lost.items()
        if count
    ]
    notes += [f"the first of them: {sentences[0]}"] if sentences else []
    if any(path.endswith(".dcm") for paths in placed.values() for path in paths if path):
        notes.append("the shards hold DICOM files as they were, with what they say of the patient.")
    return Manifest.build(table, folder, manifest.categories), notes


def _begin(folder: Path, manifest: Manifest, columns: list[str], cases_per_shard: int) -> None:
    """Say in the folder whose shards it holds. Raises ValueError if it holds others."""
    paths = manifest.table[["case_id", *columns]].to_csv(index=False)
    whose = hashlib.sha256(f"{os.path.abspath(manifest.root)}\n{paths}".encode()).hexdigest()
    facts = {"version": VERSION, "cases": len(manifest), "cases_per_shard": cases_per_shard, "sha256_of_paths": whose}
    said = folder / "shards.json"
    if said.is_file():
        if json.loads(said.read_text()) != facts:
            raise ValueError(f"{folder} holds shards of other cases, or of another size: take another folder.")
        return
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and holds no shards: take another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(said) as (scratch,):
        scratch.write_text(json.dumps(facts, indent=1))


def _write_shard(place: Path, cases: pd.DataFrame, root: Path, columns: list[str]) -> list[str]:
    """Write a shard and then its index; returns a sentence for each picture that cannot be read."""
    scratch, index_scratch = (place.with_name(f".writing-{place.name}{end}") for end in ("", INDEX))
    written = _Written()
    with tarfile.open(scratch, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row, case in zip(cases.index, cases.to_dict("records"), strict=True):
            for column in columns:
                if isinstance(path := case[column], str):
                    try:
                        data = read_bytes(root, path)
                    except PictureError as error:
                        written.unreadable.append(f"{case['case_id']}: {error}")
                        continue
                    written.add(tar, f"{row:08d}.{column}.{_extension(path, data)}", data)
            told = {name: value for name, value in case.items() if name not in columns}
            written.add(tar, f"{row:08d}.json", json.dumps(dict(_known(told)), ensure_ascii=False).encode())
    with index_scratch.open("wb") as file:
        np.save(file, index_of(written.members), allow_pickle=False)
    for path, target in ((scratch, place), (index_scratch, Path(f"{place}{INDEX}"))):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(target)
    return written.unreadable


@dataclass
class _Written:
    members: list[Member] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def add(self, tar: tarfile.TarFile, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)  # its time stays 0: the same cases make the same bytes
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
        where = tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        self.members.append((name, where, len(data)))


def _extension(path: str, data: bytes) -> str:
    """Of the file's name; of a picture without one (a key of an HDF5 file) by its header; `bin` for no picture.

    DICOM is `dcm` whatever its name says (scanners write IM0001, .ima, .img): it names a patient, and a note tells so.
    """
    if is_dicom(data):
        return NAMES["DICOM"]
    if named := PurePosixPath(path).suffix.lower().lstrip("."):
        return named
    try:
        return NAMES.get(read_header(data).format, "bin")
    except PictureError:
        return "bin"


def _known(case: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The cells of a row that hold something."""
    for name, value in case.items():
        if isinstance(value, list | np.ndarray):
            yield name, list(value)
        elif pd.notna(value):
            yield name, value
