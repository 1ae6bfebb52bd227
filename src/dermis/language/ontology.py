"""Which diseases are kinds of which: names, ancestors, distances.

A rooted tree, or a graph in which a node may have several parents (nail psoriasis is a psoriasis and a nail disease).
The root has no name and is no node; it lies one edge above the topmost nodes, so that all nodes have a distance.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from dermis.language.ontology_files import Entry, read_entries
from dermis.registry import unknown


class Ontology:
    """Diseases and what they are kinds of; immutable. Nodes are their canonical names."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Raises ValueError for a name that is there twice, a parent that is not there, and a cycle."""
        entries = list(entries)
        self._parents = {entry.name: tuple(dict.fromkeys(entry.parents)) for entry in entries}
        if len(self._parents) < len(entries):
            names = [entry.name for entry in entries]
            raise ValueError(f"two nodes of the ontology are called {max(names, key=names.count)!r}.")
        for name, parents in self._parents.items():
            if strangers := set(parents) - set(self._parents):
                raise ValueError(f"{name!r} is a kind of {min(strangers)!r}, which is not in the ontology.")
        try:
            downwards = list(TopologicalSorter(self._parents).static_order())
        except CycleError as error:
            raise ValueError(f"the ontology goes round in a circle: {' is a kind of '.join(error.args[1])}.") from None

        self.nodes = tuple(self._parents)
        """canonical names, in the file's order"""
        self._names = {e.name: tuple(dict.fromkeys((e.name, *e.synonyms))) for e in entries}
        self._spelt = {_key(node): node for node in reversed(self.nodes)}  # the first of equal ones stays
        for node, names in self._names.items():
            for name in names:
                self._spelt.setdefault(_key(name), node)
        self._lineage: dict[str, tuple[str, ...]] = {}
        self._edges_up: dict[str, dict[str, int]] = {}
        for node in downwards:
            above = [self._lineage[parent] for parent in self._parents[node]]
            self._lineage[node] = (*min(above, key=len, default=()), node)
            up = {node: 0}
            for parent in self._parents[node]:
                for ancestor, edges in self._edges_up[parent].items():
                    up[ancestor] = min(up.get(ancestor, edges + 1), edges + 1)
            self._edges_up[node] = up

    @classmethod
    def read(cls, path: Path | str) -> "Ontology":
        """Derm1M's nested or flat JSON, our YAML, `.obo` or `.owl` (``ontology_files``); raises ValueError."""
        return cls(read_entries(path))

    def __len__(self) -> int:
        return len(self.nodes)

    def find(self, name: str) -> str | None:
        """The node of this name or synonym, None if there is none.

        Case, accents, spaces, hyphens, apostrophes, plurals and British or American spelling do not matter. A
        canonical name goes before a synonym, the earlier node before the later.
        """
        return self._spelt.get(_key(name)) if _key(name) else None

    def node(self, name: str) -> str:
        """``find``, but an unknown name raises ValueError with the nearest."""
        found = self.find(name)
        if found is None:
            raise unknown("disease", name, self.nodes)
        return found

    def names(self, node: str) -> tuple[str, ...]:
        """Spellings: the canonical name, then the synonyms."""
        return self._names[self._checked(node)]

    def parents(self, node: str) -> tuple[str, ...]:
        """What the node is directly a kind of; empty for the topmost."""
        return self._parents[self._checked(node)]

    def lineage(self, node: str) -> tuple[str, ...]:
        """From a topmost node down to and including ``node``.

        The shortest way where there are several, of equally short ones that of the parent that is named first.
        """
        return self._lineage[self._checked(node)]

    def ancestors(self, node: str) -> frozenset[str]:
        """All that ``node`` is a kind of, by any way, without itself."""
        return frozenset(self._edges_up[self._checked(node)]) - {node}

    def distance(self, a: str, b: str) -> int:
        """Edges between two nodes over their nearest common ancestor, which may be the root."""
        up_a, up_b = (self._edges_up[self._checked(node)] for node in (a, b))
        over_root = len(self._lineage[a]) + len(self._lineage[b])
        return min([over_root, *(up_a[c] + up_b[c] for c in up_a.keys() & up_b.keys())])

    def distances(self, nodes: Sequence[str]) -> np.ndarray:
        """(K, K) int64: ``distance`` between all pairs."""
        return np.array([[self.distance(a, b) for b in nodes] for a in nodes], dtype=np.int64).reshape(len(nodes), -1)

    def similarity(self, nodes: Sequence[str]) -> np.ndarray:
        """(K, K) float64 in [0, 1]: 1 on the diagonal, 0 where only the root is common.

            2 d(c) / (2 d(c) + e(a, c) + e(b, c)),    the largest over the common ancestors c of a and b

        d: depth (topmost 1), e: edges upwards; a node is its own ancestor. In a tree this is the similarity of Wu and
        Palmer (ACL 1994). O-MAKE's own matrix (arXiv 2512.03445) is not published; ours is a choice.
        """
        return np.array([[self._similar(a, b) for b in nodes] for a in nodes], dtype=float).reshape(len(nodes), -1)

    def _similar(self, a: str, b: str) -> float:
        up_a, up_b = (self._edges_up[self._checked(node)] for node in (a, b))
        twice_depth = {c: 2 * len(self._lineage[c]) for c in up_a.keys() & up_b.keys()}
        return max((twice / (twice + up_a[c] + up_b[c]) for c, twice in twice_depth.items()), default=0.0)

    def _checked(self, node: str) -> str:
        if node not in self._parents:
            raise unknown("node of the ontology", node, self.nodes)
        return node


@cache
def default_ontology() -> Ontology:
    """Ours (``language/data/diseases.yaml``): the classes of all protocols of ``class_lists.yaml``, and more."""
    with as_file(files("dermis.language") / "data" / "diseases.yaml") as path:
        return Ontology.read(path)


def ontology_of(source: str) -> Ontology:
    """What a setting means: ``default`` is ours, anything else a file; raises ValueError as ``Ontology.read`` does."""
    return default_ontology() if source == "default" else Ontology.read(source)


SPELLINGS = (("ae", "e"), ("oe", "e"), ("tumour", "tumor"), ("colour", "color"), ("naevi", "nevi"))
WORDS = {"nevi": "nevus", "bulle": "bulla"}


def _key(name: str) -> str:
    """What all spellings of a name have in common."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    plain = re.sub(r"['’`´]s?\b", "", plain)
    for british, american in SPELLINGS:
        plain = plain.replace(british, american)
    return "".join(_singular(word) for word in re.findall(r"[^\W_]+", plain))


def _singular(word: str) -> str:
    if word in WORDS:
        return WORDS[word]
    for plural, singular in (("oses", "osis"), ("ies", "y"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if len(word) > len(plural) and word.endswith(plural):
            return word.removesuffix(plural) + singular
    return word[:-1] if len(word) > 3 and re.search(r"[^siu]s$", word) else word
