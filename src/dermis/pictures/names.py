"""Names of pictures in a folder or an archive, and how many bytes one may have."""

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from dermis.pictures import PictureError

MAX_BYTES = 1 << 29  # no encoded photograph is larger; a member that unpacks to more is a bomb


def check_size(name: str, size: int) -> None:
    """Raise PictureError if ``name`` has more bytes than a picture may have."""
    if size > MAX_BYTES:
        raise PictureError(f"{name} has {size:,} bytes; a picture may have {MAX_BYTES:,}.")


@dataclass(frozen=True)
class Names:
    """Names that can be asked for exactly, without regard to case, and for the nearest."""

    names: Collection[str]

    @cached_property
    def _folded(self) -> dict[str, list[str]]:
        folded: dict[str, list[str]] = {}
        for name in self.names:
            folded.setdefault(name.casefold(), []).append(name)
        return folded

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._folded)

    def find(self, name: str) -> str | None:
        """The name as it is really spelt, or None; PictureError if only case tells two candidates apart."""
        if name in self.names:
            return name
        found = self._folded.get(name.casefold(), [])
        if len(found) > 1:
            raise PictureError(f"{name!r} could be {' or '.join(map(repr, sorted(found)))}: give the exact case.")
        return found[0] if found else None

    def nearest(self, name: str) -> str:
        """A half-sentence with the nearest name. Only alphabetical neighbours are compared: folders have 400,000."""
        at = bisect_left(self._sorted, name.casefold())
        neighbours = self._sorted[max(at - 100, 0) : at + 100]
        close = get_close_matches(name.casefold(), neighbours, n=1, cutoff=0.5)
        return f" Nearest: {self._folded[close[0]][0]!r}." if close else ""
