"""One pass over pictures: what every check and rule about them needs, each picture opened once."""

import hashlib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dermis.cases.columns import PICTURES
from dermis.cases.corpus.panels import separators
from dermis.cases.manifest import Manifest
from dermis.pictures import PictureError
from dermis.pictures.decode import decode
from dermis.pictures.hash import Fingerprint, fingerprint
from dermis.pictures.store import read_bytes

DECODED_SIDE = 256
"""pixels of the shorter side, at least: enough for separator lines and a classifier"""

Classifier = Callable[[np.ndarray], float]
"""uint8 RGB picture (H, W, 3) of any size -> probability that it shows skin"""


@dataclass
class Looks:
    """What was seen; keys are paths, but digests in ``fingerprints``, ``lines`` and ``skin``."""

    missing: dict[str, str] = field(default_factory=dict)
    """path -> why there are no bytes"""
    damaged: dict[str, str] = field(default_factory=dict)
    """path -> why its bytes are no picture"""
    digests: dict[str, str] = field(default_factory=dict)
    fingerprints: dict[str, Fingerprint] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    """separators between panels"""
    skin: dict[str, float] = field(default_factory=dict)


def look(
    root: Path,
    paths: Iterable[str],
    *,
    at_least: int = DECODED_SIDE,
    panels: bool = False,
    skin: Classifier | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Looks:
    """Opens each path once; equal files are decoded once, to ``at_least`` pixels of the shorter side.

    Raises ValueError for a probability of skin outside 0 to 1.
    """
    looks, paths = Looks(), list(dict.fromkeys(paths))
    for done, path in enumerate(paths, 1):
        broken = looks.missing
        try:
            data = read_bytes(root, path)
            broken = looks.damaged
            digest = hashlib.blake2b(data, digest_size=16).hexdigest()
            if digest not in looks.fingerprints:
                picture = decode(data, at_least=at_least)
                if panels:
                    looks.lines[digest] = len(separators(picture))
                if skin is not None:
                    looks.skin[digest] = _probability(skin(picture), path)
                looks.fingerprints[digest] = fingerprint(picture)
            looks.digests[path] = digest
        except PictureError as error:
            broken[path] = str(error)
        if progress is not None:
            progress(done, len(paths))
    return looks


def picture_paths(manifest: Manifest) -> list[str]:
    """The distinct paths in `image` and `dermoscopy`."""
    columns = [manifest.table[column].dropna() for column in PICTURES if column in manifest]
    return list(dict.fromkeys(path for paths in columns for path in paths))


def rows_by_digest(manifest: Manifest, looks: Looks) -> dict[str, list[int]]:
    """Digest -> the rows that show it, in `image` or `dermoscopy`."""
    found: dict[str, list[int]] = {}
    for column in PICTURES:
        if column in manifest:
            for row, path in enumerate(manifest.table[column]):
                if path in looks.digests:
                    found.setdefault(looks.digests[path], []).append(row)
    return found


def classifier(place: str) -> Classifier:
    """The function at "package.module:function"; raises ValueError if it is not there.

    The module runs: name only what you trust.
    """
    module, colon, name = place.partition(":")
    if not (module and colon and name.isidentifier()):
        raise ValueError(f"a classifier is named module:function, not {place!r}.")
    try:
        function = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"the classifier {place!r} cannot be imported: {error} (PYTHONPATH?)") from None
    if not callable(function):
        raise ValueError(f"the module {module!r} has no function {name!r}.")
    return function


def _probability(answer: object, path: str) -> float:
    value = float(np.asarray(answer, dtype=float).squeeze()) if np.size(answer) == 1 else float("nan")
    if not 0 <= value <= 1:
        raise ValueError(f"the skin classifier answers {answer!r} for {path}; it must be one probability in 0 to 1.")
    return value
