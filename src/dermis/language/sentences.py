"""Splitting text into sentences, minding decimals and abbreviations, the same on every machine."""

import re

ABBREVIATIONS = frozenset(
    {"e.g", "i.e", "etc", "vs", "approx", "ca", "cf", "fig", "figs", "resp", "incl", "diam", "max", "min", "al"}
    | {"dr", "prof", "mr", "mrs", "ms", "st"}
)
"""words whose full stop ends no sentence, without it and in lower case"""

_END = re.compile(r"[.!?]+[\"')\]]*(?=\s+\S)|[。！？]+[”’」』）]*(?=\s*\S)")


def split_sentences(text: str) -> list[str]:
    """``text`` as its sentences, stripped, in order; their concatenation loses nothing but white space.

    A full stop ends a sentence only before white space, and not after an abbreviation or a single letter (``0.5 mm``,
    ``e.g. acne`` and ``J. Smith`` stay whole), nor where the next word begins in lower case. Chinese stops end a
    sentence too.
    """
    sentences, start = [], 0
    for end in _END.finditer(text):
        before, after = text[start : end.start()], text[end.end() :].lstrip()
        if end.group().startswith(".") and (_abbreviated(before) or after[:1].islower()):
            continue
        sentences.append(text[start : end.end()].strip())
        start = end.end()
    sentences.append(text[start:].strip())
    return [s for s in sentences if s]


def _abbreviated(before: str) -> bool:
    word = before.rsplit(maxsplit=1)[-1].lstrip("([\"'").casefold() if before.strip() else ""
    return word in ABBREVIATIONS or (len(word) == 1 and word.isalpha())


def sub_texts(text: str) -> list[str] | None:
    """The distinct sentences of a text; None where there is only one, which would repeat the text."""
    distinct: dict[str, str] = {}
    for sentence in split_sentences(text):
        distinct.setdefault(_bare(sentence), sentence)
    return list(distinct.values()) if len(distinct) > 1 else None


def _bare(sentence: str) -> str:
    return " ".join(sentence.casefold().split()).rstrip(" .!?")
