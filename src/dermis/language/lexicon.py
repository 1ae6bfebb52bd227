"""The words for what is seen on skin (``language/data/concepts.yaml``): concepts, their groups and spellings."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

from dermis.language.tagging import Tagger
from dermis.recipe import read_yaml

DECOYS = "not a concept"
"""the group whose phrases hold a concept's word and mean something else"""


class Lexicon:
    """Concepts with their spellings; singular and plural, hyphens, case, accents and British spelling do not matter.

    ``concepts``: the canonical words; ``groups``: concept -> its group; ``decoys``: phrases that look like a concept
    and are none ("red blood cell"); ``fingerprint``: changes with the content.
    """

    def __init__(self, groups: Mapping[str, Mapping[str, Sequence[str]]], decoys: Iterable[str] = ()) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self.groups: dict[str, str] = {}
        for group, members in groups.items():
            for concept, spellings in members.items():
                if concept in self._names:
                    raise ValueError(f"the concept {concept!r} stands in the lexicon twice.")
                self._names[concept] = tuple(dict.fromkeys((concept, *spellings)))
                self.groups[concept] = group
        if not self._names:
            raise ValueError("the lexicon holds no concepts.")
        self.decoys = tuple(decoys)
        self.concepts = tuple(self._names)
        content = json.dumps([self._names, self.groups, self.decoys], ensure_ascii=False)
        self.fingerprint = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
        self._tagger = Tagger(self.phrases())

    @classmethod
    def read(cls, path: Path | str) -> "Lexicon":
        """A YAML or JSON file: group -> concept -> list of spellings, or concept -> list of spellings.

        The group "not a concept" is a list of lists of phrases. Raises ValueError with the file's name for anything
        else.
        """
        groups: dict[str, dict[str, Sequence[str]]] = {}
        mapping = read_yaml(path)
        decoys = mapping.pop(DECOYS, [])
        lines = decoys if isinstance(decoys, list) else [decoys]
        if not all(isinstance(line, list) and all(isinstance(phrase, str) for phrase in line) for line in lines):
            raise ValueError(f"{path}: {DECOYS!r} should be a list of lists of phrases, not {decoys!r}.")
        for key, value in mapping.items():
            for concept, spellings in value.items() if isinstance(value, Mapping) else [(key, value)]:
                if not isinstance(spellings, list) or not all(isinstance(s, str) for s in (concept, *spellings)):
                    raise ValueError(f"{path}: {concept!r} should have a list of spellings, not {spellings!r}.")
                groups.setdefault(key if isinstance(value, Mapping) else "", {})[concept] = spellings
        try:
            return cls(groups, [phrase for line in lines for phrase in line])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def names(self, concept: str) -> tuple[str, ...]:
        """The spellings of a concept, the canonical one first; KeyError for a word that is no concept."""
        return self._names[concept]

    def find(self, word: str) -> str | None:
        """The concept of a spelling (the first, where two share it: "maculopapular"); None if there is none."""
        return next(iter(self._tagger.labels(word)), None)

    def phrases(self) -> Iterator[tuple[str, str]]:
        """(spelling, concept) of every spelling; a canonical word comes before everybody's synonyms."""
        yield from ((concept, concept) for concept in self.concepts)
        yield from ((name, concept) for concept, names in self._names.items() for name in names[1:])


@cache
def default_lexicon() -> Lexicon:
    """Ours: about 180 concepts with 1,100 spellings, from general knowledge of dermatology."""
    with as_file(files("dermis.language") / "data" / "concepts.yaml") as path:
        return Lexicon.read(path)
