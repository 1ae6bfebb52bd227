"""One sentence about what is wrong, slow or taken care of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LEVELS = ("broken", "warning", "note")


@dataclass(frozen=True)
class Note:
    """``broken``: something needed does not work; ``warning``: slow, or will fail in some uses; ``note``: handled."""

    level: Literal["broken", "warning", "note"]
    sentence: str


def exit_status(notes: Sequence[Note]) -> int:
    """1 if something needed is broken, else 0."""
    return int(any(note.level == "broken" for note in notes))
