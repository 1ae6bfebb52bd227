"""A reader's own options, which recipes and the command line give as strings."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from dermis.registry import unknown

EVERYWHERE = ("missing", "split")
"""options of import_set itself"""


def understood(name: str, read: Callable[..., Any], options: Mapping[str, object]) -> dict[str, Any]:
    """``options`` with strings turned into what the reader ``read`` of the set ``name`` expects.

    "true" and "false" for a switch; "ours=theirs, ours=theirs" for a map of columns; "a, b" for a list of words;
    digits for a number. Raises ValueError for an option that the reader does not have and for a string that does not
    fit.
    """
    parameters = {p.name: p for p in inspect.signature(read).parameters.values() if p.name != "files"}
    for option in options:
        if option not in parameters:
            raise unknown(f"option of {name}", option, (*parameters, *EVERYWHERE))
    return {option: _understood(option, value, parameters[option]) for option, value in options.items()}


def _understood(option: str, value: object, parameter: inspect.Parameter) -> object:
    if not isinstance(value, str):
        return value
    if isinstance(parameter.default, bool):
        if value.casefold() not in ("true", "false"):
            raise unknown(f"value of {option}", value, ("true", "false"))
        return value.casefold() == "true"
    if isinstance(parameter.default, int | float):
        try:
            return type(parameter.default)(value)
        except ValueError:
            kind = "a whole number" if isinstance(parameter.default, int) else "a number"
            raise ValueError(f"{option} should be {kind}, not {value!r}.") from None
    if isinstance(parameter.default, tuple):
        return tuple(word.strip() for word in value.split(","))
    if option == "columns":
        pairs = [pair.partition("=") for pair in value.split(",")]
        if wrong := [ours for ours, equals, theirs in pairs if not (equals and theirs.strip())]:
            raise ValueError(f"columns should read ours=theirs, ours=theirs; {wrong[0]!r} has no column to map to.")
        return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    return value
