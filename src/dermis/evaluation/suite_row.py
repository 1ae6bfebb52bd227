"""A row of a suite as it was measured, in a file of its own: the number, and by what it is known to be still true."""

import json
import math
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dermis.recipe import build

FORMAT = 1
LIMITS = ("low", "high")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The number of a suite's row for a model, with everything that it depends on."""

    suite: str
    suite_version: int
    row: str
    set: str
    protocol: str
    """of the suite; the report's own is in ``entries``"""
    metric: str
    value: float
    low: float
    """lower end of the 95 % interval (patient bootstrap); NaN (null in JSON) where no draw had a value"""
    high: float
    n: int
    patients: int
    unreadable: int
    """cases whose pictures could not be opened; they are in no number"""
    seed: int
    n_boot: int
    model: str
    model_key: str
    """of the weights and all else that the model's answers depend on (``model.cache.model_key``)"""
    cases_key: str
    pictures_key: str
    settings_key: str
    notes: list[str]
    command: str
    dermis: str
    """version of the program"""
    entries: list[dict[str, Any]]
    """all numbers of the report that are about everybody and all classes"""

    @property
    def same_cases(self) -> tuple[str, str, int, int, int]:
        """What two models' numbers must have in common to be compared."""
        return self.cases_key, self.settings_key, self.n, self.unreadable, self.seed

    def is_current(self, keys: dict[str, Any]) -> bool:
        """Would it be measured as the same number again? ``keys``: the fields that decide, with their values now."""
        return all(getattr(self, name) == value for name, value in keys.items())

    def called(self, model: str) -> "Measured":
        """The same number under another name of the model."""
        return replace(self, model=model, entries=[entry | {"model": model} for entry in self.entries])

    def text(self) -> str:
        """``0.812 [0.790, 0.833]``"""
        limits = "" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f}{limits}"

    def write(self, path: Path) -> Path:
        """Write the file, which appears whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"version": FORMAT} | asdict(self)
        content |= {name: None for name in LIMITS if math.isnan(content[name])}
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        scratch.replace(path)
        return path

    @classmethod
    def read(cls, path: Path) -> "Measured":
        """The row of a file. Raises ValueError for a file that is none, or one of another format."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} cannot be read as JSON: {error}.") from None
        if not isinstance(content, dict) or "suite_version" not in content:
            raise ValueError(f"{path} is not a row of a suite.")
        if content.pop("version", None) != FORMAT:
            raise ValueError(f"{path} is not a row of format {FORMAT}.")
        limits = {name: math.nan for name in LIMITS if name in content and content[name] is None}
        found = build(cls, content | limits, str(path))
        if not math.isfinite(found.value):
            raise ValueError(f"{path} has no number: its value is {found.value}.")
        return found
