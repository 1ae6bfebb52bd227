"""How a diagnosis is said (``language/data/spoken.yaml``)."""

from functools import cache
from importlib.resources import files

import yaml


@cache
def _names() -> dict[str, list[str]]:
    return yaml.safe_load((files("dermis.language") / "data" / "spoken.yaml").read_text(encoding="utf-8"))


def spoken(diagnosis: str) -> list[str]:
    """What narrated captions call it, with the article; the diagnosis itself where nothing is known about it."""
    return list(_names().get(diagnosis, [diagnosis]))
