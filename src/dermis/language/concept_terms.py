"""What to call a visual concept in a prompt: concept -> terms (``language/data/concept_terms.yaml``, written by us).

A file of one's own has MAKE's form, JSON ``{"concept": ["term", ...]}``. Concepts are found by name; case, spaces,
hyphens, underscores and brackets do not count, so that "Brown(Hyperpigmentation)" is "brown hyperpigmentation". A term
that a file gives twice counts twice in the mean over terms, as it does in the release of MAKE.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

from dermis.registry import unknown


@cache
def _ours() -> dict[str, list[str]]:
    text = (files("dermis.language") / "data" / "concept_terms.yaml").read_text(encoding="utf-8")
    return {name: terms for group in yaml.safe_load(text).values() for name, terms in group.items()}


def concept_terms(path: Path | str | None = None) -> dict[str, list[str]]:
    """All concepts with their terms, ours or those of a JSON file.

    Raises ValueError for a file that is not there, is not of the form, or has one concept under two spellings.
    """
    given = {name: list(terms) for name, terms in (_ours() if path is None else _read(Path(path))).items()}
    spelt: dict[str, str] = {}
    for name in given:
        if spelt.setdefault(plain(name), name) != name:
            raise ValueError(f"the concepts {spelt[plain(name)]!r} and {name!r} are one name: keep one of them.")
    return given


def terms_of(concepts: Iterable[str], path: Path | str | None = None) -> dict[str, list[str]]:
    """Each of ``concepts`` with its terms, in that order; ValueError with the nearest name for one without terms."""
    known = concept_terms(path)
    by_name = {plain(name): terms for name, terms in known.items()}
    found = {}
    for concept in concepts:
        if plain(concept) not in by_name:
            raise unknown("concept", concept, known)
        found[concept] = by_name[plain(concept)]
    return found


def plain(name: str) -> str:
    """A concept's name as it is compared."""
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def _read(path: Path) -> dict[str, list[str]]:
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as concept terms: {error}.") from None
    if not isinstance(given, dict) or not given or not all(_is_terms(terms) for terms in given.values()):
        raise ValueError(f'{path} should hold {{"concept": ["term", ...]}}, each concept with at least one term.')
    return given


def _is_terms(terms: object) -> bool:
    return isinstance(terms, list) and bool(terms) and all(isinstance(term, str) and term.strip() for term in terms)
