"""What a sentence says about the things it mentions: that they are there, or absent, uncertain, past, somebody else's.

After NegEx (Chapman et al., J Biomed Inform 2001) and ConText (Harkema et al., J Biomed Inform 2009), with word lists
and scopes of our own (``language/data/contexts.yaml``): a trigger reaches over at most WINDOW words between mentions,
to the end of its clause; over a comma only within an enumeration ("no scale, crust or erosion").
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import as_file, files

from dermis.language.tagging import Span, Tagger
from dermis.recipe import read_yaml

WINDOW = 6
ENUMERATED = 3
"""words at most in one item of an enumeration, mentions counting as one"""

_STOPS = frozenset(";:()?!")
_JOINS = frozenset({"and", "or", "nor"})
_VERBS = frozenset({"is", "are", "was", "were"})
_REACH = re.compile(r"(?P<kind>.+) (?P<side>before|next|after)(?: a (?P<of>disease))?")


@cache
def _triggers() -> Tagger[tuple[str, str]]:
    """Phrase -> (kind, where it stands to what it is about), as ("uncertain disease", "before"), or ("ends", "")."""
    with as_file(files("dermis.language") / "data" / "contexts.yaml") as path:
        groups = read_yaml(path)
    return Tagger((phrase, _reach(name)) for name, lines in groups.items() for line in lines for phrase in line)


def _reach(name: str) -> tuple[str, str]:
    found = _REACH.fullmatch(name)
    return (" ".join(filter(None, (found["kind"], found["of"]))), found["side"]) if found else (name, "")


def contexts(sentence: Sequence[str], spans: Sequence[Span]) -> list[set[str]]:
    """For each span the kinds of context that reach it: "negated", "uncertain", "uncertain disease", "past", ….

    ``sentence``: the words of one sentence (``words.words``); ``spans``: the mentions in it, from left to right,
    without overlap. An empty set is a plain statement. "uncertain disease" ("may be", "types of") makes a diagnosis
    uncertain but not a concept, "explicit diagnosis" is no doubt but its contrary.
    """
    covered = {i for span in spans for i in range(span.start, span.end)}
    triggers = [t for t in _triggers()(sentence) if t.start not in covered and t.end - 1 not in covered]
    ends = {t.start for t in triggers if ("ends", "") in t.labels}
    begins = {span.start: k for k, span in enumerate(spans)}
    finishes = {span.end - 1: k for k, span in enumerate(spans)}
    reached: list[set[str]] = [set() for _ in spans]
    for trigger in triggers:
        for kind, side in trigger.labels:
            scope: Iterator[int] = iter(())
            if side == "before":
                scope = _after(sentence, trigger.end, spans, begins, ends, commas=kind.startswith("uncertain"))
            elif side == "after":
                scope = _before(sentence, trigger.start, spans, finishes, ends)
            elif side == "next" and trigger.end in begins:
                scope = iter((begins[trigger.end],))
            for k in scope:
                reached[k].add(kind)
    return reached


def _after(
    sentence: Sequence[str], i: int, spans: Sequence[Span], begins: dict[int, int], ends: set[int], commas: bool
) -> Iterator[int]:
    """The spans that a trigger before position ``i`` reaches."""
    steps, met, listed = 0, False, False
    if i < len(sentence) and sentence[i] == ":":
        i += 1
    while i < len(sentence) and steps <= WINDOW:
        if i in begins:
            met, steps = True, 0
            yield begins[i]
            i = spans[begins[i]].end
            continue
        word = sentence[i]
        if word in _STOPS or i in ends or (met and word in ("with", "in", "on")):
            return
        if word == "," and not commas:
            if not _enumerated(sentence, i + 1, spans, begins, ends) or (not listed and sentence[i + 1] == "and"):
                return  # "not scaly, and firm" turns to what is there, "no scale, crust, and erosion" does not
            listed = True
        steps = 0 if word in _JOINS or word == "," else steps + 1
        i += 1


def _before(
    sentence: Sequence[str], end: int, spans: Sequence[Span], finishes: dict[int, int], ends: set[int]
) -> Iterator[int]:
    """The spans that a trigger beginning at ``end`` reaches backwards."""
    i, steps, met, joined = end - 1, 0, False, False
    while i >= 0 and steps <= WINDOW:
        if i in finishes:
            if met and not joined:
                return
            met, steps = True, 0
            yield finishes[i]
            i = spans[finishes[i]].start - 1
            continue
        word = sentence[i]
        if word in _STOPS or (word == "," and not (met and joined)):
            return
        if i in ends and not (word in _VERBS and not met):
            return
        joined |= word in _JOINS
        steps = 0 if word in _JOINS or word == "," else steps + 1
        i -= 1


def _enumerated(sentence: Sequence[str], i: int, spans: Sequence[Span], begins: dict[int, int], ends: set[int]) -> bool:
    """Do short items follow position ``i``, the last of them after "or", "nor" or "and"?"""
    length = 0
    while i < len(sentence) and length <= ENUMERATED and sentence[i] not in _STOPS and i not in ends:
        if sentence[i] in _JOINS:
            return True
        length = 0 if sentence[i] == "," else length + 1
        i = spans[begins[i]].end if i in begins else i + 1
    return False
