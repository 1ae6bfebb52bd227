"""Embeddings as a folder: numpy opens the vectors without reading them, and the cases that they belong to lie beside.

``vectors.npy`` float32 (N, D), as the model made them; ``lengths.npy`` float32 (N,), their lengths; ``cases.parquet``
with its sidecar, whose row n is the case of vector n; ``pictures.npy`` uint8 (N, C, 2, 16), of each picture where it
lay and what it was (identity and content, ``parts``); ``embeddings.json``, what made them. A search index may lie in
``index/`` and the parts of an interrupted run in ``unfinished/``.

Shapes: N cases, D wide, C picture columns.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dermis.cases.manifest import Manifest
from dermis.towers.weights import HUB

FORMAT = 1
FACTS, CASES = "embeddings.json", "cases.parquet"
VECTORS, LENGTHS, PICTURES = "vectors.npy", "lengths.npy", "pictures.npy"
UNFINISHED, INDEX = "unfinished", "index"


@dataclass(frozen=True)
class Embeddings:
    """An opened folder; ``Embeddings.open`` makes one."""

    folder: Path
    facts: dict[str, Any]
    vectors: np.ndarray
    """(N, D) float32, memory-mapped; changes to it reach neither the file nor anybody else"""
    lengths: np.ndarray
    """(N,) float32"""
    pictures: np.ndarray
    """(N, C, 2, 16) uint8"""

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def cases(self) -> Manifest:
        """Case n has vector n."""
        cases = Manifest.read(self.folder / CASES)
        if len(cases) != len(self):
            raise ValueError(f"{self.folder} has {len(self)} vectors and {len(cases)} cases; embed again.")
        return cases

    @property
    def model(self) -> str:
        """The model that made them, as `dermis.load` takes it."""
        source = str(self.facts["model"])
        return source if source.startswith(HUB) else os.path.normpath(self.folder / source)

    @classmethod
    def open(cls, folder: Path | str) -> "Embeddings":
        """Raises ValueError, with a sentence, if the folder holds no embeddings, or broken ones."""
        folder = Path(folder)
        facts = read_facts(folder)
        if facts is None:
            begun = " An interrupted run began there: run it again." if (folder / UNFINISHED).is_dir() else ""
            raise ValueError(f"no embeddings in {folder}: make them with `dermis embed MODEL MANIFEST`.{begun}")
        try:
            # copy on write: torch warns of arrays that cannot be written to
            arrays = [np.load(folder / name, mmap_mode="c") for name in (VECTORS, LENGTHS, PICTURES)]
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} cannot be read: {error}") from None
        count, dim, columns = facts["count"], facts["dim"], len(facts["columns"])
        expected = {VECTORS: (count, dim), LENGTHS: (count,), PICTURES: (count, columns, 2, 16)}
        types = {VECTORS: np.float32, LENGTHS: np.float32, PICTURES: np.uint8}
        for array, (name, shape) in zip(arrays, expected.items(), strict=True):
            if array.shape != shape or array.dtype != types[name]:
                found = f"{array.dtype} {array.shape}"
                raise ValueError(f"{folder / name} is {found} and must be {np.dtype(types[name])} {shape}.")
        return cls(folder, facts, *arrays)


def read_facts(folder: Path) -> dict[str, Any] | None:
    """What ``embeddings.json`` says; None if there is none. Raises ValueError for one that says something else."""
    path = folder / FACTS
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        newer = facts["format"] > FORMAT
        written = facts["dermis"]
        kinds = {"key": str, "model": str, "stage": str, "columns": list, "count": int, "dim": int, "pictures": str}
        wrong = [name for name, kind in kinds.items() if not isinstance(facts.get(name), kind)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read: {error or type(error).__name__}") from None
    if newer:
        raise ValueError(f"{folder} was written by dermis {written}, which is newer; upgrade dermis.")
    if wrong:
        raise ValueError(f"{path} cannot be read: {wrong[0]} is missing or of the wrong kind.")
    return facts
