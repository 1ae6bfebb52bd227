"""What the settings of towers and methods must be: numbers in their range, and none without effect."""

from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any


def refuse_out_of_range(
    config: Any, *, above_0: Iterable[str] = (), at_least_1: Iterable[str] = (), shares: Iterable[str] = ()
) -> None:
    """Raise ValueError for the first of these settings that is out of its range; None is in every range."""
    for names, fits, range_ in (
        (above_0, lambda value: value > 0, "must be above 0"),
        (at_least_1, lambda value: value >= 1, "must be at least 1"),
        (shares, lambda value: 0 <= value <= 1, "is a share, 0 to 1"),
    ):
        for name in names:
            value = getattr(config, name)
            if value is not None and not fits(value):
                raise ValueError(f"{name} {range_}, not {value}.")


def changed(config: Any, names: Iterable[str]) -> list[str]:
    """Those of the settings that differ from their defaults."""
    default = {f.name: f.default_factory() if f.default_factory is not MISSING else f.default for f in fields(config)}
    return [name for name in names if getattr(config, name) != default[name]]
