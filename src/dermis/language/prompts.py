"""Prompt templates and class lists by name, kept as data (``language/data``).

A template set is a list of sentences with one ``{}`` for the class name; a class list is the names of a published
protocol in their order, which is the order of the labels.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

import yaml

from dermis.registry import unknown


@cache
def _data(name: str) -> dict[str, dict]:
    return yaml.safe_load((files("dermis.language") / "data" / name).read_text(encoding="utf-8"))


def template_sets() -> list[str]:
    """The names that ``templates`` knows."""
    return sorted(_data("templates.yaml"))


def templates(name: str | Sequence[str]) -> list[str]:
    """The templates of a named set, or the given ones; raises ValueError for a wrong name or a template without {}."""
    if isinstance(name, str):
        if name not in _data("templates.yaml"):
            raise unknown("template set", name, template_sets())
        return list(_data("templates.yaml")[name]["templates"])
    if not name:
        raise ValueError("no template is given; a template is a sentence with {} for the class name.")
    for template in name:
        if template.count("{}") != 1:
            raise ValueError(f"template {template!r} must hold {{}} exactly once, in the place of the class name.")
    return list(name)


def reference_sets() -> list[str]:
    """The template sets that have reference sentences beside them (``references``)."""
    return sorted(name for name, entry in _data("templates.yaml").items() if "references" in entry)


def references(name: str) -> list[str]:
    """The sentences of a template set without any concept, in the templates' order; ValueError for a set that has
    none."""
    if name not in reference_sets():
        raise unknown("template set of concept annotation", name, reference_sets())
    return list(_data("templates.yaml")[name]["references"])


def class_lists() -> list[str]:
    """The names that ``class_list`` knows."""
    return sorted(_data("class_lists.yaml"))


def class_list(name: str) -> list[str]:
    """The class names of a published protocol, in its order; raises ValueError for a wrong name."""
    if name not in _data("class_lists.yaml"):
        raise unknown("class list", name, class_lists())
    return list(_data("class_lists.yaml")[name]["classes"])


def class_prompts(
    classes: Sequence[str],
    template_set: str | Sequence[str],
    names: Mapping[str, str | Iterable[str]] | None = None,
) -> list[list[str]]:
    """The prompts of each class: every template filled with every name of the class.

    ``names`` replaces a class's own name by others (synonyms); classes that it leaves out keep theirs. Raises
    ValueError for names of a class that is not there.
    """
    names = {c: [given] if isinstance(given, str) else list(given) for c, given in (names or {}).items()}
    for given in names:
        if given not in classes:
            raise unknown("class", given, classes)
        if not names[given]:
            raise ValueError(f"class {given!r} has an empty list of names.")
    sentences = templates(template_set)
    return [[t.replace("{}", name) for name in names.get(c, [c]) for t in sentences] for c in classes]
