"""What others build on is written down in docs/public_api.txt, and changes only on purpose.

``python -m tests.test_public_api`` writes it anew: then say in the commit what changed for whom.
"""

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dermis
from dermis import losses, torchvision_operators  # noqa: F401 (before methods)
from dermis.batch.config import DataConfig
from dermis.cases.catalogue import READERS
from dermis.cases.columns import FIXED, PREFIXES
from dermis.cli import COMMANDS
from dermis.evaluation.config import PROTOCOLS, EvaluationConfig
from dermis.methods import methods
from dermis.training.config import StageConfig, TrainingConfig

FILE = Path(__file__).parents[1] / "docs" / "public_api.txt"


def signature(function: Any) -> str:
    """Parameters and defaults; annotations are left to the docstrings and to pyright."""
    parameters = inspect.signature(function).parameters.values()
    kept = [p.replace(annotation=p.empty) for p in parameters if p.name not in ("self", "cls", "files")]
    return str(inspect.Signature(kept))


def of_class(kind: type) -> Iterator[str]:
    """What an object of the class offers: its fields and public methods."""
    if dataclasses.is_dataclass(kind):
        yield from (f"  .{f.name}" for f in dataclasses.fields(kind) if not f.name.startswith("_"))
    for name, member in vars(kind).items():
        if name.startswith("_"):
            continue
        inner = getattr(member, "__func__", member)
        yield f"  .{name}{signature(inner) if inspect.isfunction(inner) else ''}"


def settings(schema: Any) -> Iterator[str]:
    for field in dataclasses.fields(schema):
        default = field.default if field.default is not dataclasses.MISSING else None
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        shown = type(default).__name__ if dataclasses.is_dataclass(default) else repr(default)
        yield f"  {field.name}{'' if needed else f' = {shown}'}"


def lines() -> Iterator[str]:
    yield "The public interface of dermis: what is not here may change without notice."
    yield "\n# Python: dermis"
    for name in dermis.__all__:
        thing = getattr(dermis, name)
        if inspect.isclass(thing):
            yield f"{name}"
            yield from of_class(thing)
        elif callable(thing):
            yield f"{name}{signature(thing)}"
    yield "\n# Python: dermis.losses"
    yield from (f"{name}{signature(getattr(losses, name))}" for name in losses.__all__)
    yield "\n# Command line: dermis …"
    yield from sorted(COMMANDS)
    yield "\n# Manifest"
    yield from [*FIXED, *(f"{prefix}NAME" for prefix in PREFIXES), "TEXT_origin"]
    yield "\n# Data sets: dermis import …"
    yield from (f"{name}{signature(READERS[name])}" for name in READERS)
    yield "\n# Recipe: data"
    yield from settings(DataConfig)
    yield "\n# Recipe: training"
    yield from settings(TrainingConfig)
    yield "\n# Recipe: training.STAGE, beside these"
    inherited = {f.name for f in dataclasses.fields(TrainingConfig)} - {"epochs"}
    yield from (line for line in settings(StageConfig) if line.split()[0] not in inherited)
    yield "\n# Recipe: evaluation"
    yield from settings(EvaluationConfig)
    yield "\n# Protocols"
    yield from PROTOCOLS
    for name, page in sorted((name, methods()[name]) for name in methods()):
        if not page.__module__.startswith("dermis."):  # an example's, that another test has run
            continue
        yield f"\n# Recipe: method {name}, needs {', '.join(page.needs)}"
        yield from settings(page.Config)
        yield from (f"  stage {stage}" for stage in getattr(page, "stages", ()))


def text() -> str:
    return "\n".join(lines()) + "\n"


def test_nothing_public_changed_by_accident():
    assert text() == FILE.read_text(encoding="utf-8")


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
