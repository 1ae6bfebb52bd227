"""A manifest's pictures into a folder of embeddings: resumable, and what exists is skipped.

A picture is embedded once for each model, transform and content of its file (``parts``). The folder is replaced as a
whole when all is done; until then what was made waits in ``unfinished/``, and an older state of the folder is usable.

Shapes: N cases, D wide, C picture columns.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from dermis.cases.manifest import Manifest
from dermis.model.whole_folder import aside_of
from dermis.search.column import look_at
from dermis.search.encoder import Encoder
from dermis.search.folder import UNFINISHED, Embeddings, read_facts
from dermis.search.parts import Parts
from dermis.search.writing import same, write

NO_PICTURE = "the case has no picture."


@dataclass(frozen=True)
class Written:
    """What a run did."""

    embeddings: Embeddings
    new: int
    """pictures that the model looked at; the others were known"""
    left_out: dict[int, str]
    """row of the manifest -> why it has no vector"""


def write_embeddings(
    folder: Path | str,
    model: nn.Module,
    manifest: Manifest,
    *,
    source: str,
    stage: str | None = None,
    column: str | None = None,
    batch_size: int = 64,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Embed the cases of ``manifest``, those of them whose pictures can be read, into ``folder``.

    ``source``: what ``dermis.load`` made ``model`` from, so that a search finds it. ``stage``, ``column``: see
    ``Encoder.of``. Interrupted, the same call goes on; for a manifest that grew, only what is new is embedded. Raises
    ValueError for a folder that holds another model's embeddings or something else, and if no picture can be read.
    """
    folder, encoder = Path(folder), Encoder.of(model, stage, column)
    manifest.require(encoder.columns, "embedding pictures")
    before = _opened(folder, encoder)
    pictures_NC = np.zeros((len(manifest), len(encoder.columns), 2, 16), np.uint8)
    left_out: dict[int, str] = {}
    known, new = [], 0
    for c, name in enumerate(encoder.columns):
        done = None
        if before is not None:
            end = sum(encoder.dim(n) for n in encoder.columns[: c + 1])
            done = before.vectors[:, end - encoder.dim(name) : end], before.pictures[:, c]
        parts = Parts(folder / UNFINISHED / encoder.key / name, done)
        # a case that is left out already needs no second picture
        column_N = manifest.table[name]
        paths = [path if isinstance(path, str) and row not in left_out else None for row, path in enumerate(column_N)]
        shift, total = c * len(paths), len(encoder.columns) * len(paths)
        said = None if progress is None else lambda n, shift=shift, total=total: progress(shift + n, total)
        found, bad, looked = look_at(parts, encoder, name, manifest.root, paths, batch_size, workers, said)
        new += looked
        known.append(parts)
        for row, path in enumerate(paths):
            if path in found:
                identity, content = found[path]
                pictures_NC[row, c, 0] = np.frombuffer(identity or bytes(16), np.uint8)
                pictures_NC[row, c, 1] = np.frombuffer(content, np.uint8)
            else:
                left_out.setdefault(row, NO_PICTURE if path is None else bad[path])
    rows = np.array([row for row in range(len(manifest)) if row not in left_out], np.int64)
    if not len(rows):
        raise ValueError(f"no picture can be read; the first: {left_out[0]}")
    cases, pictures_NC = manifest.select(rows), pictures_NC[rows]
    if before is not None and same(before, cases, pictures_NC):
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        return Written(before, new, left_out)
    write(folder, encoder, source, cases, pictures_NC, known)
    return Written(Embeddings.open(folder), new, left_out)


def _opened(folder: Path, encoder: Encoder) -> Embeddings | None:
    """What the folder holds of this encoder; raises ValueError for anything else."""
    aside = aside_of(folder)
    if aside.is_dir() and not folder.exists():
        aside.rename(folder)  # a run died between two renames
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"embeddings are a folder, and {folder} is a file; choose another name.")
    facts = read_facts(folder)
    if facts is None and folder.exists() and any(entry.name != UNFINISHED for entry in folder.iterdir()):
        raise ValueError(f"{folder} holds something that is no embeddings; choose another folder.")
    keys = [entry.name for entry in (folder / UNFINISHED).glob("*")] + ([facts["key"]] if facts else [])
    if others := [key for key in keys if key != encoder.key]:
        raise ValueError(
            f"{folder} holds embeddings of model {others[0][:12]}… and this one is {encoder.key[:12]}…: other weights, "
            "stage, column, transform or version of timm. Choose another folder, or delete that one."
        )
    return Embeddings.open(folder) if facts else None
