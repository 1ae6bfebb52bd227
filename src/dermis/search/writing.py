"""A finished folder of embeddings, written beside the place where it shall lie and put there as a whole."""

import json
import os
import shutil
from pathlib import Path

import numpy as np

import dermis
from dermis.cases.manifest import Manifest
from dermis.model.whole_folder import written_whole
from dermis.search.encoder import Encoder
from dermis.search.folder import CASES, FACTS, FORMAT, INDEX, LENGTHS, PICTURES, VECTORS, Embeddings, read_facts
from dermis.search.parts import ROWS, Parts, content_of
from dermis.towers.weights import FOLDER, HUB


def same(before: Embeddings, cases: Manifest, pictures_NC: np.ndarray) -> bool:
    """Would the folder be written as it is?"""
    if not np.array_equal(before.pictures, pictures_NC):
        return False
    old = before.cases
    roots = os.path.abspath(old.root), os.path.abspath(cases.root)
    return roots[0] == roots[1] and old.categories == cases.categories and old.table.equals(cases.table)


def write(
    folder: Path, encoder: Encoder, source: str, cases: Manifest, pictures_NC: np.ndarray, known: list[Parts]
) -> None:
    """Write the vectors of ``cases`` in their order, with all that belongs to them, in the place of ``folder``.

    ``known``: of each picture column the vectors of its pictures, by the contents in ``pictures_NC`` (N, C, 2, 16). An
    index of the same pictures in the same order is kept.
    """
    with written_whole(folder) as scratch:
        dims = [encoder.dim(name) for name in encoder.columns]
        out_ND = np.lib.format.open_memmap(scratch / VECTORS, "w+", np.float32, (len(cases), sum(dims)))
        for c, parts in enumerate(known):
            contents = [content.tobytes() for content in pictures_NC[:, c, 1]]
            parts.fill(out_ND[:, sum(dims[:c]) : sum(dims[: c + 1])], contents)
        starts = range(0, len(out_ND), ROWS)
        lengths = [np.linalg.norm(out_ND[start : start + ROWS].astype(np.float64), axis=1) for start in starts]
        np.save(scratch / LENGTHS, np.concatenate(lengths).astype(np.float32))
        np.save(scratch / PICTURES, pictures_NC)
        out_ND.flush()
        made = content_of(np.ascontiguousarray(pictures_NC[:, :, 1]).tobytes()).hex()
        facts = {
            "format": FORMAT, "dermis": dermis.__version__, "model": _portable(source, folder), **encoder.facts,
            "count": len(cases), "dim": sum(dims), "pictures": made,
        }  # fmt: skip
        cases.write(scratch / CASES)  # its image root, relative to here, is right there too: the folders are neighbours
        (scratch / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
        facts_before = read_facts(folder)
        if facts_before and facts_before["pictures"] == made and (folder / INDEX).is_dir():
            shutil.move(folder / INDEX, scratch / INDEX)


def _portable(source: str, folder: Path) -> str:
    """Where the model lies, seen from the folder, so that both can move together."""
    if source.startswith(HUB):
        return source
    return Path(os.path.relpath(source.removeprefix(FOLDER), folder)).as_posix()
