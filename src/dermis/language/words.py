"""A sentence as words that compare equal whatever their number, hyphens, accents or British spelling."""

import re
import unicodedata
from functools import lru_cache

# a dash between spaces is a bullet, one inside a word a hyphen; marks that do not separate statements are left out
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|(?<!\S)[-–—•*·](?!\S)|[,;:()\[\]?!–—•]")
_MARKS = dict.fromkeys("-–—•*·[]", ";")
_IRREGULAR = {
    "nevi": "nevus",
    "feet": "foot",
    "lentigines": "lentigo",
    "calve": "calf",
    "teeth": "tooth",
    "fungi": "fungus",
}


def words(sentence: str) -> list[str]:
    """The folded words of a sentence, and its , ; : ( ) ? ! as words of their own; a bullet is a ``;``.

    Hyphens, slashes and apostrophes separate words ("bull's-eye" is three), full stops are dropped: the text was split
    into sentences before.
    """
    return [_MARKS.get(token) or fold(token) for token in _WORD.findall(sentence)]


def plain_words(phrase: str) -> list[str]:
    """The folded words of a name, without punctuation: "White (hypopigmentation)" is two words."""
    return [word for word in words(phrase) if word[0].isalnum()]


@lru_cache(maxsize=1 << 16)
def fold(word: str) -> str:
    """One word in lower case, singular, without accents, in American spelling.

    A rule of thumb that need not be English ("scabies" -> "scaby"): both sides of every comparison go through it.
    """
    word = "".join(c for c in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(c))
    if len(word) > 3:
        if word.endswith("ies"):
            word = word[:-3] + "y"
        elif word.endswith("oses") and len(word) > 6:  # keratoses, but not noses
            word = word[:-2] + "is"
        elif word.endswith(("sses", "ches", "shes", "xes", "zes")):
            word = word[:-2]
        elif word.endswith("ae") or (word.endswith("s") and not word.endswith(("ss", "us", "is"))):
            word = word[:-1]
    word = word.replace("ae", "e").replace("oe", "e") if len(word) > 4 else word
    word = word.replace("olour", "olor").replace("umour", "umor")
    return _IRREGULAR.get(word, word)
