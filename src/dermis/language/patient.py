"""Age and sex of the one patient that a caption speaks of."""

import re
from collections.abc import Iterator

_UNITS = {"year": 1, "yr": 1, "y": 1, "month": 12, "mo": 12, "week": 52, "wk": 52, "day": 365}
_SEX = {
    "female": "female", "woman": "female", "girl": "female", "lady": "female", "f": "female",
    "male": "male", "man": "male", "boy": "male", "gentleman": "male", "m": "male",
    "she": "female", "her": "female", "he": "male", "his": "male", "him": "male",
}  # fmt: skip
_UNIT = r"(?P<unit>years?|yrs?|y|months?|mo|weeks?|wks?|days?)"
_OLD = rf"[\s-]*(?:{_UNIT}[\s./-]*(?:old|o\b\.?|of[\s-]age)|y\.?/?o\b\.?)"
_AGED = re.compile(rf"(?<![\d.,–-])(?P<age>\d{{1,3}}){_OLD}", re.IGNORECASE)
_AGED_N = re.compile(rf"\b(?:patient|woman|man|girl|boy|female|male|child|infant)s?,? aged (?P<age>\d{{1,3}})(?:[\s-]*{_UNIT})?\b(?![\s-]*(?:to|–|-)\s*\d)", re.IGNORECASE)  # fmt: skip  # noqa: E501
_SHORT = re.compile(r"(?<![\w.])(?P<age>\d{1,3})[\s-]?(?P<sex>[MF])\b(?![\w/])")
_RANGE = re.compile(r"(?:\d\s*(?:to|and|or|-|–)|under|over|above|below|than|by|until|before|after|from|at)\s*$", re.I)
_FEVER = re.compile(r"\b(?:fever|temperature)\b[^.;]{0,30}$", re.IGNORECASE)
"""before a number of degrees Fahrenheit ("fever of 102F"), which is no woman of 102"""
_NOUN = re.compile(r"\b(female|woman|girl|lady|male|man|boy|gentleman)\b", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(she|her|he|his|him)\b", re.IGNORECASE)


def age(text: str) -> float | None:
    """Years of the one age that ``text`` states ("45-year-old", "6 mo old", "aged 7", "62F"); None for none or two.

    Ranges ("2 to 15 years old") and limits ("before 40 years of age") are no patient's age.
    """
    found = set()
    for matches in (_AGED.finditer(text), _AGED_N.finditer(text), _short(text)):
        for match in matches:
            if _RANGE.search(text[: match.start()]):
                continue
            unit = (match.groupdict().get("unit") or "year").casefold().rstrip("s")
            years = float(match["age"]) / _UNITS[unit]
            if years <= 120:
                found.add(years)
    return found.pop() if len(found) == 1 else None


def sex(text: str) -> str | None:
    """ "female" or "male": by the noun ("a man", "female patient"), else by the pronoun; None for none or both."""
    short = {_SEX[match["sex"].casefold()] for match in _short(text)}
    for found in (short, *({_SEX[w.casefold()] for w in pattern.findall(text)} for pattern in (_NOUN, _PRONOUN))):
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _short(text: str) -> Iterator[re.Match[str]]:
    """What "62F" and "62 M" match: age and sex in one word."""
    return (match for match in _SHORT.finditer(text) if not _FEVER.search(text[: match.start()]))
