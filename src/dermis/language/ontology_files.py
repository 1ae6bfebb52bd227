"""Files that hold an ontology of diseases, each read into the same list of entries.

| file | form |
|---|---|
| `.json`, nested | Derm1M's tree: ``{name: {name: {}}}``; synonyms in one name, separated by commas |
| `.json`, flat | Derm1M's adjacency: ``{"root": [name, …], name: [child, …]}`` |
| `.yaml` | ours: nested, synonyms separated by " | "; a name in several places is one node with several parents |
| `.obo`, `.owl` | terms with `is_a` and exact synonyms, by pronto (extra `ontology`); obsolete terms are left out |
"""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dermis.registry import unknown


class Entry(NamedTuple):
    """A node as a file has it; no parents: a child of the root."""

    name: str
    parents: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()


def read_entries(path: Path | str) -> list[Entry]:
    """The entries of an ontology file, in the file's order.

    Raises ValueError for another kind of file, a missing or broken one, and `.obo` or `.owl` without pronto.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise unknown("kind of ontology file", path.suffix or path.name, READERS)
    if not path.is_file():
        raise ValueError(f"no ontology at {path}.")
    try:
        entries = READERS[path.suffix.lower()](path)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a readable ontology: {reason}") from None
    if not entries:
        raise ValueError(f"{path} holds no disease.")
    return entries


def _json(path: Path) -> list[Entry]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(found, dict) and any(isinstance(children, list) for children in found.values()):
        return _flat(found)
    return _nested(found)


def _nested(tree: Any) -> list[Entry]:
    """Names that stand in several places are different nodes (Derm1M has benign and malignant "melanocytic").

    Nodes need names of their own: a repeated one is called after its parent, "malignant melanocytic", unless it is a
    disease without kinds in its first place; one without a name is "Bullous disease (unnamed)".
    """
    places = list(_places(tree, None))
    spelt = [_spellings(name, ",") for name, _ in places]
    often = Counter(names[0].casefold() for names in spelt if names)
    groups = {parent for _, parent in places}
    taken: set[str] = set()
    entries: list[Entry] = []
    for here, ((_, parent), names) in enumerate(zip(places, spelt, strict=True)):
        above = None if parent is None else entries[parent].name
        if not names:
            names = [f"{above or 'root'} (unnamed)"]
        elif above is not None and often[names[0].casefold()] > 1 and (here in groups or names[0].casefold() in taken):
            names = [f"{above} {names[0]}", *names[1:]]
        taken.add(names[0].casefold())
        entries.append(Entry(names[0], () if above is None else (above,), tuple(names[1:])))
    return entries


def _places(tree: Any, parent: int | None, count: list[int] | None = None) -> Iterator[tuple[str, int | None]]:
    """Every (name, position of its parent) of a nested mapping, parents first."""
    if tree is not None and not isinstance(tree, dict):
        raise ValueError(f"a node's children must be a mapping, not {tree!r}.")
    count = [0] if count is None else count
    for name, children in (tree or {}).items():
        here, count[0] = count[0], count[0] + 1
        yield str(name), parent
        yield from _places(children, here, count)


def _flat(adjacency: dict[str, Any]) -> list[Entry]:
    """Nodes are told apart by name only, so the two "melanocytic" of Derm1M are one with two parents."""
    if "root" not in adjacency:
        raise ValueError('a flat ontology needs the key "root" with a list of the topmost names.')
    for above, children in adjacency.items():
        if not isinstance(children, list) or not all(isinstance(name, str) for name in children):
            raise ValueError(f"the children of {above!r} must be a list of names.")
    parents: dict[str, list[str]] = {}
    for above, children in adjacency.items():
        for name in children:
            parents.setdefault(name, []).extend([] if above == "root" else [above])
    if loose := [name for name in adjacency if name not in parents and name != "root"]:
        raise ValueError(f"{loose[0]!r} has children but is nobody's child.")
    spelt = {name: _spellings(name, ",") or [f"{(parents[name] or ['root'])[0]} (unnamed)"] for name in parents}
    return _merged(Entry(spelt[n][0], tuple(spelt[p][0] for p in parents[n]), tuple(spelt[n][1:])) for n in parents)


def _ours(path: Path) -> list[Entry]:
    places = list(_places(yaml.safe_load(path.read_text(encoding="utf-8")), None))
    spelt = [_spellings(name, "|") for name, _ in places]
    if [] in spelt:
        raise ValueError(f"a node has no name: {places[spelt.index([])][0]!r}.")
    return _merged(
        Entry(name, () if parent is None else (spelt[parent][0],), tuple(synonyms))
        for (_, parent), (name, *synonyms) in zip(places, spelt, strict=True)
    )


def _merged(entries: Iterable[Entry]) -> list[Entry]:
    """Entries of one name are one node with the parents and synonyms of all."""
    found: dict[str, Entry] = {}
    for name, parents, synonyms in entries:
        known = found.get(name, Entry(name))
        found[name] = Entry(name, known.parents + parents, known.synonyms + synonyms)
    return list(found.values())


def _spellings(name: str, separator: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in name.split(separator) if part.strip()))


def _terms(path: Path) -> list[Entry]:
    """The term above all others, where there is one, is the root and no node; equal names get their id behind them."""
    try:
        import pronto  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("OBO and OWL files need pronto: pip install 'dermis[ontology]'.") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pronto, about parts of the format that are not read here
        try:
            terms = [term for term in pronto.Ontology(str(path), import_depth=0).terms() if not term.obsolete]
        except (SyntaxError, KeyError, TypeError) as error:
            raise ValueError(str(error)) from None
    often = Counter(term.name for term in terms)
    name = {term.id: term.name if term.name and often[term.name] == 1 else f"{term.name or ''} ({term.id})".strip()
            for term in terms}  # fmt: skip
    above = {term.id: [t.id for t in term.superclasses(distance=1, with_self=False) if t.id in name] for term in terms}
    tops = [key for key in name if not above[key]]
    root = tops[0] if len(tops) == 1 and len(name) > 1 else None
    return [
        Entry(
            name[term.id],
            tuple(name[key] for key in sorted(above[term.id]) if key != root),
            tuple(sorted(s.description for s in term.synonyms if s.scope == "EXACT" and s.description != term.name)),
        )
        for term in terms
        if term.id != root
    ]


READERS: dict[str, Callable[[Path], list[Entry]]] = {
    ".json": _json,
    ".yaml": _ours,
    ".yml": _ours,
    ".obo": _terms,
    ".owl": _terms,
}
