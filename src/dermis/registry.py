"""Names -> things, and the sentence a user reads when a name is wrong."""

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

T = TypeVar("T")


def unknown(kind: str, name: object, allowed: Iterable[str]) -> ValueError:
    """The error for a wrong ``name``: it names the value, the nearest allowed one and all allowed ones."""
    allowed = sorted(allowed)
    nearest = get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return ValueError(f"unknown {kind} {name!r}.{hint} Allowed: {', '.join(allowed) or 'none'}.")


class Registry(Generic[T]):
    """A dictionary of named things that explains itself; ``@registry("name")`` registers."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}

    def __call__(self, name: str) -> Callable[[T], T]:
        def register(thing: T) -> T:
            if name in self._things:
                raise ValueError(f"{self.kind} {name!r} is registered twice.")
            self._things[name] = thing
            return thing

        return register

    def __getitem__(self, name: str) -> T:
        if name not in self._things:
            raise unknown(self.kind, name, self._things)
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._things))

    def summary(self, name: str) -> str:
        """First line of the thing's docstring, for lists."""
        doc = getattr(self[name], "__doc__", None) or ""
        return doc.strip().splitlines()[0] if doc.strip() else ""
