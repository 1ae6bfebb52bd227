"""What commands share: the names of their arguments, how these are read, and the line that was typed, for reports."""

import shlex
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import tyro

from dermis.registry import unknown

Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
ManifestFile = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]

_typed: ContextVar[tuple[str, ...]] = ContextVar("typed")


def called(command: Callable[..., Any], name: str, arguments: Sequence[str]) -> Any:
    """What ``command`` returns for the arguments of `dermis NAME`; exits with a sentence for a wrong one, as --help."""
    _typed.set(("dermis", name, *arguments))
    return tyro.cli(command, args=list(arguments), prog=f"dermis {name}")


def typed() -> str:
    """The command that ``called`` runs, as it may be typed again."""
    return shlex.join(_typed.get())


def loaded(model: str) -> Any:
    """The model, on the GPU where there is one."""
    import torch

    from dermis.model import load

    return load(model, "cuda" if torch.cuda.is_available() else "cpu")


def by_column(given: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """A case's pictures as they were typed, COLUMN=FILE each (FILE alone of a model of one) -> picture column -> file.

    Raises ValueError for a column that the model does not look at, and for pictures too few or too many.
    """
    if len(columns) == 1 and len(given) == 1:
        return {columns[0]: given[0].removeprefix(f"{columns[0]}=")}
    pairs = [(column, file) for column, _, file in (part.partition("=") for part in given)]
    if wrong := [column for column, file in pairs if file and column not in columns]:
        raise unknown("picture column", wrong[0], columns)
    if len(columns) == 1:
        raise ValueError(f"--picture must be one file; it is {' '.join(given)}.")
    if sorted(column for column, file in pairs if file) != sorted(columns) or len(pairs) != len(columns):
        expected = " ".join(f"{column}=FILE" for column in columns)
        raise ValueError(
            f"this model looks at {len(columns)} pictures of a case: give {expected}, not {' '.join(given)}."
        )
    return dict(pairs)
