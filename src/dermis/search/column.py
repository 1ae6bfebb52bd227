"""The pictures of one column: which have a vector, and the others opened, seen by the model and remembered."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dermis.model.ahead import ahead
from dermis.model.look import evaluation_view
from dermis.pictures import PictureError
from dermis.pictures.store import read_bytes
from dermis.search.encoder import Encoder
from dermis.search.parts import Parts, content_of, identity_of
from dermis.towers import Transform


def look_at(
    parts: Parts,
    encoder: Encoder,
    name: str,
    root: Path,
    paths: list[str | None],
    batch_size: int,
    workers: int,
    progress: Callable[[int], None] | None,
) -> tuple[dict[str, tuple[bytes, bytes]], dict[str, str], int]:
    """Path -> (identity, content) of what has a vector now, path -> what is wrong with it, and how many were new."""
    found: dict[str, tuple[bytes, bytes]] = {}
    bad: dict[str, str] = {}
    times = Counter(path for path in paths if path is not None)
    unseen = []
    for path in times:
        identity = identity_of(root, path)
        content = parts.content.get(identity) if identity else None
        if content is not None and content in parts:
            found[path] = identity, content
        else:
            unseen.append(path)
    done, new, transform = sum(times[path] for path in found), 0, encoder.tower(name).transform
    try:
        with closing(ahead(unseen, _looker(root, transform, parts), batch_size, workers)) as batches:
            for batch in batches:
                views = {p.content: p.view for _, p in batch if isinstance(p, _Opened) and p.view is not None}
                fresh = {content: view for content, view in views.items() if content not in parts}
                if fresh:
                    vectors = encoder.encode(name, np.stack(list(fresh.values())))
                    fresh = dict(zip(fresh, vectors, strict=True))
                    new += len(fresh)
                for path, opened in batch:
                    if isinstance(opened, str):
                        bad[path] = opened
                        continue
                    parts.add(opened.identity, opened.content, fresh.pop(opened.content, None))
                    found[path] = opened.identity, opened.content
                done += sum(times[path] for path, _ in batch)
                if progress:
                    progress(done)
    finally:
        parts.flush()
    return found, bad, new


@dataclass(frozen=True)
class _Opened:
    identity: bytes
    content: bytes
    view: np.ndarray | None
    """None: its content has a vector"""


def _looker(root: Path, transform: Transform, parts: Parts) -> Callable[[str], "_Opened | str"]:
    """Path -> what was read of it, or what is wrong."""

    def look(path: str) -> _Opened | str:
        identity = identity_of(root, path)
        try:
            data = read_bytes(root, path)
            content = content_of(data)
            return _Opened(identity, content, None if content in parts else evaluation_view(data, transform))
        except PictureError as error:
            return str(error)

    return look
