"""dermis list"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dermis.registry import unknown

if TYPE_CHECKING:
    from dermis.evaluation.suites import Suite
    from dermis.model.known import KnownModel

TOPICS = (
    "datasets",
    "methods",
    "recipes",
    "augmentations",
    "templates",
    "classes",
    "protocols",
    "tables",
    "suites",
    "models",
)


USAGE = f"""usage: dermis list [TOPIC ...]

Name what there is to choose from, a line or two each. Without a TOPIC all of it.

Topics: {", ".join(TOPICS)}.
"""


def lines(topic: str) -> list[str]:
    """One line for each thing of a topic. Raises ValueError for a topic that does not exist."""
    if topic == "datasets":
        from dermis.cases.catalogue import READERS

        return [line for name in READERS for line in _dataset(name, READERS.summary(name), READERS[name].__doc__ or "")]
    if topic == "methods":
        from dermis.methods import methods

        return [f"{name:<16}{methods().summary(name)}" for name in methods()]
    if topic == "recipes":
        from dermis.recipes import recipes_folder

        firsts = {p.stem: p.read_text().splitlines()[0] for p in sorted(recipes_folder().glob("*.yaml"))}
        return [f"{name:<28}{line.lstrip('# ')}" for name, line in firsts.items()]
    if topic == "augmentations":
        from dermis.batch.augment import AUGMENTATIONS

        return [f"{name:<16}{_changes(family)}" for name, family in AUGMENTATIONS.items()]
    if topic == "protocols":
        from dermis.evaluation.config import PROTOCOLS

        return [f"{name:<16}{what}" for name, what in PROTOCOLS.items()]
    if topic == "tables":
        from dermis.evaluation.published import published_table, published_tables

        return [f"{name:<24}{published_table(name).source}" for name in published_tables()]
    if topic == "suites":
        from dermis.evaluation.suites import suite, suites

        return [line for name in suites() for line in _suite(suite(name))]
    if topic == "models":
        from dermis.model.known import known_models

        return [line for key, model in known_models().items() for line in _page(key, model)]
    if topic in ("templates", "classes"):
        from dermis.language import prompts

        names = prompts.template_sets() if topic == "templates" else prompts.class_lists()
        items_of = prompts.templates if topic == "templates" else prompts.class_list
        named = {name: items_of(name) for name in names}
        return [f"{name:<16}{len(items)}: {', '.join(items[:3])}, …" for name, items in named.items()]
    raise unknown("topic", topic, TOPICS)


def _suite(suite: "Suite") -> list[str]:
    """A suite in a line, and its protocols on each set below."""
    head = f"{suite.name:<16}version {suite.version}, {len(suite.rows)} rows on {len(suite.sets)} sets: {suite.about}"
    below = {name: ", ".join(row.name.removeprefix(f"{name}-") for row in rows) for name, rows in suite.sets.items()}
    return [head, *(f"  {name:<16}{protocols}" for name, protocols in below.items())]


def _dataset(name: str, summary: str, page: str) -> list[str]:
    """A data set in two lines."""
    from dermis.cases.catalogue.pages import first_sentence, paragraphs

    said = paragraphs(page)
    licence, obtain = (first_sentence(said.get(word, "not said")) for word in ("Licence", "Obtain"))
    return [f"{name:<16}{summary}", f"{'':<16}  licence: {licence}; obtain: {obtain}"]


def _page(key: str, model: "KnownModel") -> list[str]:
    """A published model in two lines."""
    size = f"{model.parameters} M parameters" if model.parameters else "size not known"
    place = f"hf-hub:{model.hub}" if model.hub else "not on the hub as a model"
    licence = model.licence or "see the model's page"
    return [
        f"{key:<18}{model.name}: {place}, {size}",
        f"{'':<18}  licence: {licence}; data: {model.data}",
    ]


def _changes(settings: Any) -> str:
    """The fields of a dataclass instance that differ from their defaults."""
    fields = dataclasses.fields(settings)
    changed = {f.name: getattr(settings, f.name) for f in fields if getattr(settings, f.name) != f.default}
    return ", ".join(f"{name} {value}" for name, value in changed.items())


def run(arguments: Sequence[str]) -> int:
    """`dermis list`"""
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(USAGE)
        return 0
    for topic in arguments or TOPICS:
        sys.stdout.write(f"{topic}\n" + "".join(f"  {line}\n" for line in lines(topic)))
    return 0
