"""How a diagnosis is said, and its other names (``language/data/synonyms.yaml``)."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import yaml


@cache
def _names() -> dict[str, dict[str, list[str]]]:
    return yaml.safe_load((files("dermis.language") / "data" / "synonyms.yaml").read_text(encoding="utf-8"))


def spoken(diagnosis: str) -> list[str]:
    """What narrated captions call it, with the article; the diagnosis itself where nothing is known about it."""
    return list(_names()[diagnosis]["spoken"]) if diagnosis in _names() else [diagnosis]


def unseen_synonyms(classes: Iterable[str]) -> dict[str, list[str]]:
    """Class -> names of the same disease that no narrated caption uses, for those classes that have any.

    The mapping fits ``prompts.class_prompts(classes, templates, names=…)``.
    """
    return {c: list(_names()[c]["unseen"]) for c in classes if _names().get(c, {}).get("unseen")}
