"""Rules about a caption by itself: its length and its language."""

import re
import unicodedata
from collections.abc import Callable
from functools import cache

import pandas as pd

from dermis.registry import unknown

LANGUAGES = (
    "ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl", "no",
    "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip
NEUTRAL = "la"  # the names of skin diseases are Latin in every language
_HAN_AND_KANA = r"\u3040-\u30ff\u4e00-\u9fff"
WORD = re.compile(rf"[{_HAN_AND_KANA}]|[^\W_{_HAN_AND_KANA}]+")
"""of a caption; a character of Chinese or Japanese counts as one"""
CONFIDENT = 0.75  # of the classifier; "annular erythematous plaque" is French to it with 0.69
SCRIPTS = {"ar": "ARABIC", "fa": "ARABIC", "el": "GREEK", "he": "HEBREW", "hi": "DEVANAGARI", "ru": "CYRILLIC",
           "uk": "CYRILLIC", "th": "THAI", "ko": "HANGUL", "zh": "CJK", "ja": "CJK"}  # fmt: skip
"""language -> how the Unicode names of its letters begin; Latin where it is not named"""


def unfit_length(captions: pd.Series, least: int, most: int) -> pd.Series:
    """Captions with fewer than ``least`` or more than ``most`` words, and cases without one.

    A character of Chinese or Japanese counts as a word. Raises ValueError for bounds in the wrong order.
    """
    if not 0 <= least <= most:
        raise ValueError(f"captions of {least} to {most} words: the bounds are in the wrong order.")

    def reason(caption: str | None) -> str | None:
        words = 0 if pd.isna(caption) else len(WORD.findall(str(caption)))
        if words < max(least, 1):
            return "there is no caption" if not words else f"the caption has {words} word(s), fewer than {least}"
        return f"the caption has {words} words, more than {most}" if words > most else None

    return _objections(captions, reason)


def other_language(captions: pd.Series, wanted: str) -> pd.Series:
    """Captions that are clearly not in the language ``wanted`` (ISO 639-1).

    Most letters of a script that the language does not have, or, by py3langid, another language than it or Latin with a
    probability of at least 0.75. Short captions are seldom clear ("psoriasis en la rodilla" is, "Psoriasis" is not) and
    stay, as do mixed ones; a language that is not in ``LANGUAGES`` is taken for a related one or stays.

    Raises ValueError for an unknown language, and without py3langid (extra `corpus`).
    """
    if wanted not in LANGUAGES:
        raise unknown("language", wanted, LANGUAGES)
    classify, script = _classifier(), SCRIPTS.get(wanted, "LATIN")

    def reason(caption: str | None) -> str | None:
        letters = [] if pd.isna(caption) else [letter for letter in str(caption) if letter.isalpha()]
        if not letters:
            return None
        own = sum(_of_script(letter, script) for letter in letters)
        if own * 2 < len(letters):
            return f"the caption is not written in the script of {wanted!r}"
        language, probability = classify(str(caption))
        if language in (wanted, NEUTRAL) or probability < CONFIDENT:
            return None
        return f"the caption is in {language!r} with probability {probability:.2f}"

    return _objections(captions, reason)


def _objections(captions: pd.Series, reason: Callable[[str | None], str | None]) -> pd.Series:
    """Position -> sentence, for the captions with one; equal captions are looked at once."""
    reasons = {caption: reason(caption) for caption in captions.dropna().unique()}
    missing = reason(None)
    found = [missing if pd.isna(caption) else reasons[caption] for caption in captions]
    return pd.Series(found, index=range(len(found)), dtype=object).dropna()


def _of_script(letter: str, script: str) -> bool:
    name = unicodedata.name(letter, "")
    return name.startswith((script, "HIRAGANA", "KATAKANA") if script == "CJK" else script)


@cache
def _classifier() -> Callable[[str], tuple[str, float]]:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise ValueError(
            "telling languages apart needs py3langid: pip install 'dermis[corpus]', or leave the rule out "
            "(--skip language)."
        ) from None
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([*LANGUAGES, NEUTRAL])
    return identifier.classify
