"""Flags that a command takes out of its arguments itself, before the rest is read as settings of a recipe."""


def take_flag(arguments: list[str], name: str) -> bool:
    """Remove ``name``; was it there?"""
    there = name in arguments
    if there:
        arguments.remove(name)
    return there


def take_option(arguments: list[str], name: str) -> str | None:
    """Remove ``name VALUE`` or ``name=VALUE``; returns the value. ValueError for a name without one."""
    for i, argument in enumerate(arguments):
        given, equals, value = argument.partition("=")
        if given == name:
            if not equals and i + 1 == len(arguments):
                raise ValueError(f"{name} needs a value.")
            value = value if equals else arguments.pop(i + 1)
            del arguments[i]
            return value
    return None
