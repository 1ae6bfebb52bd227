"""A run goes on only with the settings that it began with; else it would be reported with others than its own."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

MACHINE = ("workers", "keep", "log_steps", "checkpoint_steps", "tensorboard", "compile", "fully_sharded", "accumulate")
"""settings of the loop that may change on the way: they are about the machine, its memory and the log, not about what
is learnt. The number of epochs is none of them: learning rates and methods' schedules follow the number of all steps.
Nor is precision: `auto` goes on on any machine"""
SAID = 5
"""differences that a sentence names"""
MISSING = object()


def refuse_other(
    folder: Path,
    held: Mapping[str, Any],
    asked: Mapping[str, Any],
    *,
    loose: Iterable[str] = (),
    opaque: Sequence[str] = (),
    option: str = "--out",
) -> None:
    """Raise ValueError if the run in ``folder`` began with other settings than those that are asked for.

    Settings are nested mappings, those of the loop in ``training`` or, for each stage, in blocks below it. ``loose``:
    shell patterns of dotted names that may differ, beside ``MACHINE``. ``opaque``: names whose values tell a reader
    nothing. ``option`` chooses the folder. Paths are compared as they are written: whether a file that moved is the
    same is not known; where it is, its new path can be written into the folder's recipe.
    """
    may_differ = [*loose, *(f"training*.{name}" for name in MACHINE)]
    others = [
        name if name in opaque else f"{name} ({there} there, {here} here)"
        for name, there, here in _differences(held, asked)
        if not any(fnmatchcase(name, pattern) for pattern in may_differ)
    ]
    if others:
        more = f" and {len(others) - SAID} more" if len(others) > SAID else ""
        raise ValueError(
            f"{folder} holds a run with other {', '.join(others[:SAID])}{more}: choose another folder ({option}), "
            "or delete this one."
        )


def _differences(held: Any, asked: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """The name of each setting that differs, and what it is on both sides."""
    if isinstance(held, Mapping) and isinstance(asked, Mapping):
        for key in {**held, **asked}:
            below = f"{name}.{key}" if name else key
            yield from _differences(held.get(key, MISSING), asked.get(key, MISSING), below)
    elif (there := _written(held)) != (here := _written(asked)):
        yield name, _short(there), _short(here)


def _written(value: Any) -> str:
    return "nothing" if value is MISSING else json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
