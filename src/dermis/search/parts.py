"""Vectors of one picture column while they are made: what a finished folder has, and parts on disk for what is new.

A part is a safetensors file that appears whole (written under another name, then renamed); a run that dies keeps its
parts, and the next one goes on from them. A picture has two names of 16 bytes. Its ``content`` is what its vector
depends on. Its ``identity`` (path, inode, size, times of change) says, like git's index, that the file is still the one
whose content is known, so that it need not be opened; a file that is touched or moved is read again, and embedded again
only if its bytes are new.

Shapes: P pictures of a part, D wide, N cases.
"""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

PART = 2048
"""pictures in a part"""
SECONDS = 60.0
"""a part is written at least that often, for slow models"""
FINISHED = -1
ROWS = 4096


def identity_of(root: Path, path: str) -> bytes:
    """Where a picture lies and the state of its file (its archive's, for a member); empty if that cannot be told."""
    try:
        file = Path(os.path.abspath(root)) / path.partition("!/")[0]
        state = file.stat()
    except (OSError, ValueError):
        return b""
    facts = (str(file), path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).digest()


def content_of(data: bytes) -> bytes:
    """A name for the bytes of a picture."""
    return hashlib.blake2b(data, digest_size=16).digest()


class Parts:
    """What is known of one column's pictures. ``finished``: vectors (N, D) and their pictures (N, 2, 16)."""

    def __init__(self, folder: Path, finished: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        self.folder = folder
        self.content: dict[bytes, bytes] = {}
        """identity -> content"""
        self._place: dict[bytes, tuple[int, int]] = {}
        self._finished = finished
        self._files: list[Path] = []
        self._fresh: dict[bytes, np.ndarray] = {}
        self._marks: dict[bytes, bytes] = {}
        self._written = time.monotonic()
        if finished is not None:
            for row, (identity, content) in enumerate(finished[1]):
                self.content[identity.tobytes()] = content.tobytes()
                self._place.setdefault(content.tobytes(), (FINISHED, row))
        for file in sorted(folder.glob("part-*.safetensors")):
            try:
                with safe_open(file, "numpy") as part:
                    marks, contents = part.get_tensor("mark"), part.get_tensor("content")
            except (SafetensorError, OSError):
                file.unlink(missing_ok=True)  # a broken disk; its pictures are embedded again
                continue
            self._know(file, [(m[0].tobytes(), m[1].tobytes()) for m in marks], [c.tobytes() for c in contents])
        self.content.pop(bytes(16), None)  # of a file whose state could not be told

    def __contains__(self, content: object) -> bool:
        return content in self._place or content in self._fresh

    def add(self, identity: bytes, content: bytes, vector_D: np.ndarray | None = None) -> None:
        """Remember a picture; ``vector_D`` if its content is new."""
        if vector_D is not None:
            self._fresh[content] = vector_D
        if identity:
            self._marks[identity] = self.content[identity] = content
        if len(self._fresh) + len(self._marks) >= 2 * PART or time.monotonic() - self._written > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        self._written = time.monotonic()
        if not self._fresh and not self._marks:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"part-{time.time_ns()}-{os.getpid()}.safetensors"
        scratch = file.with_name(f".{file.name}")
        marks = np.frombuffer(b"".join(i + c for i, c in self._marks.items()), np.uint8).reshape(-1, 2, 16)
        contents = np.frombuffer(b"".join(self._fresh), np.uint8).reshape(-1, 16)
        vectors = np.stack(list(self._fresh.values())) if self._fresh else np.empty((0, 0), np.float32)
        save_file({"mark": marks.copy(), "content": contents.copy(), "vector": vectors}, scratch)
        scratch.rename(file)
        self._know(file, list(self._marks.items()), list(self._fresh))
        self._fresh, self._marks = {}, {}

    def fill(self, out_ND: np.ndarray, contents: list[bytes]) -> None:
        """Put the vector of each of ``contents`` into its row of ``out_ND``; a part or 4,096 rows are held."""
        place_N2 = np.array([self._place[content] for content in contents], np.int64).reshape(-1, 2)
        for number in np.unique(place_N2[:, 0]):
            rows = np.flatnonzero(place_N2[:, 0] == number)
            vectors = self._finished[0] if number == FINISHED else load_file(self._files[number])["vector"]
            for start in range(0, len(rows), ROWS):
                some = rows[start : start + ROWS]
                out_ND[some] = vectors[place_N2[some, 1]]

    def _know(self, file: Path, marks: list[tuple[bytes, bytes]], contents: list[bytes]) -> None:
        self._files.append(file)
        self.content.update(marks)
        for row, content in enumerate(contents):
            self._place.setdefault(content, (len(self._files) - 1, row))
