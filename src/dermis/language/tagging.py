"""Finding the phrases of a vocabulary in words: the longest first, none inside another, in one pass."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from dermis.language.words import plain_words

L = TypeVar("L", bound=Hashable)


class Span(NamedTuple):
    """Words ``start`` to ``end`` (exclusive) of a sentence, and all labels of the phrase that they are."""

    start: int
    end: int
    labels: tuple[Any, ...]


class Tagger(Generic[L]):
    """(phrase, label) pairs as a tree of words; a phrase may have several labels.

    Reading costs one step down the tree per word and restart, so it grows with the text, not with the vocabulary.
    """

    def __init__(self, phrases: Iterable[tuple[str, L]]) -> None:
        self._root: dict[Any, Any] = {}
        for phrase, label in phrases:
            node = self._root
            for word in plain_words(phrase):
                node = node.setdefault(word, {})
            if node is not self._root and label not in node.setdefault(None, []):
                node[None].append(label)

    def __call__(self, sentence: Sequence[str]) -> list[Span]:
        """The phrases of ``sentence`` (its ``words.words``), left to right; where several begin, the longest."""
        spans, start = [], 0
        while start < len(sentence):
            found = self._longest(sentence, start)
            if found:
                spans.append(found)
            start = found.end if found else start + 1
        return spans

    def labels(self, phrase: str) -> tuple[L, ...]:
        """The labels of exactly this phrase; empty where it is none."""
        sentence = plain_words(phrase)
        found = self._longest(sentence, 0) if sentence else None
        return found.labels if found and found.end == len(sentence) else ()

    def _longest(self, sentence: Sequence[str], start: int) -> Span | None:
        node, found = self._root, None
        for i in range(start, len(sentence)):
            node = node.get(sentence[i])
            if node is None:
                break
            if None in node:
                found = Span(start, i + 1, tuple(node[None]))
        return found
