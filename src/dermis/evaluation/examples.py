"""Example pictures for a report: the most confident mistakes and some right answers, as small JPEGs."""

import io

import numpy as np

from dermis.cases.manifest import Manifest
from dermis.evaluation.report import Example

SIDE = 160
"""longer side of a thumbnail in pixels"""


def choose(score_NC: np.ndarray, label_N: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows of ``count`` cases: half the most confident mistakes, half right answers drawn at random.

    Where there are too few of one kind, the other kind fills up.
    """
    called_N = score_NC.argmax(axis=1)
    wrong, right = np.flatnonzero(called_N != label_N), np.flatnonzero(called_N == label_N)
    wrong = wrong[np.argsort(-score_NC[wrong].max(axis=1), kind="stable")]
    right = np.random.default_rng(seed).permutation(right)
    from_wrong = min(len(wrong), max(count // 2, count - len(right)))
    return np.concatenate([wrong[:from_wrong], right[: count - from_wrong]])


def examples(
    manifest: Manifest, score_NC: np.ndarray, label_N: np.ndarray, classes: list[str], count: int, seed: int
) -> list[Example]:
    """The chosen cases with thumbnails; row n of the manifest is case n of the scores. Unreadable pictures are left out
    here (the report counts them)."""
    from dermis.pictures import PictureError

    found = []
    for n in choose(score_NC, label_N, count, seed):
        row = manifest.table.iloc[n]
        try:
            jpeg = thumbnail(manifest, row["image"])
        except PictureError:
            continue
        called = int(score_NC[n].argmax())
        found.append(Example(row["case_id"], classes[label_N[n]], classes[called], float(score_NC[n, called]), jpeg))
    return found


def thumbnail(manifest: Manifest, path: str) -> bytes:
    """A picture of the manifest as JPEG, ``SIDE`` pixels long at most, without metadata."""
    from PIL import Image

    from dermis.pictures.decode import decode
    from dermis.pictures.store import read_bytes

    picture = Image.fromarray(decode(read_bytes(manifest.root, path), at_least=SIDE))
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return out.getvalue()
