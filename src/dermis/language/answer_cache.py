"""Answers on disk, so that none is paid for or waited for twice: one JSON line each, appended, never rewritten."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from dermis.language.knowledge import Knowledge

FILE = "answers.jsonl"


def key_of(*parts: object) -> str:
    """A hash of everything that an answer depends on."""
    return hashlib.blake2b(json.dumps(parts, ensure_ascii=False).encode(), digest_size=16).hexdigest()


class AnswerCache:
    """key -> Knowledge, kept in ``folder/answers.jsonl``; a context manager, open for adding inside its block.

    The file holds hashes of texts, not texts. A line that was torn by a power cut is passed over, and its text asked
    again. Raises ValueError if the folder is a file.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"the cache {folder} must be a folder; it is a file.")
        self.path = folder / FILE
        self._known: dict[str, Knowledge] = {}
        if self.path.is_file():
            with self.path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    self._remember(line)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Knowledge:
        return self._known[key]

    def __enter__(self) -> "AnswerCache":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        if self._file.tell() and self.path.read_bytes()[-1:] != b"\n":
            self._file.write(b"\n")  # the torn line must not swallow the next
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, key: str, knowledge: Knowledge, sync: bool = True, **record: Any) -> None:
        """Remember an answer. ``sync``: it is on the disk when this returns; ``record``: what else its line says."""
        line = json.dumps({"key": key, "knowledge": asdict(knowledge), **record}, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        if sync:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._known[key] = knowledge

    def _remember(self, line: str) -> None:
        try:
            entry = json.loads(line)
            fields: dict[str, Any] = {
                name: tuple(v) if isinstance(v, list) else v for name, v in entry["knowledge"].items()
            }
            self._known[entry["key"]] = Knowledge(**fields)
        except (ValueError, KeyError, TypeError, AttributeError):
            return
