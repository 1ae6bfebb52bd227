"""Finding phrases: the longest first, whole words only, in time that grows with the text."""

import re
import time

import numpy as np

from dermis.language.tagging import Tagger
from dermis.language.words import plain_words, words

PHRASES = [("a", "A"), ("a b", "AB"), ("b c d", "BCD"), ("c", "C"), ("d a", "DA"), ("d", "D")]


def found(text, phrases=PHRASES):
    return [(span.start, span.end, *span.labels) for span in Tagger(phrases)(words(text))]


def test_longest_phrase_wins_and_none_overlap():
    assert found("a b c d a") == [(0, 2, "AB"), (2, 3, "C"), (3, 5, "DA")]
    assert found("b c a") == [(1, 2, "C"), (2, 3, "A")]  # "b c" alone is the beginning of a phrase


def test_whole_words_only():
    assert found("ab abc aa", [("a", 1), ("b", 2)]) == []
    assert found("Scale insects, upscale", [("scale", 1)]) == [(0, 1, 1)]


def test_a_phrase_may_have_two_labels_and_is_listed_once():
    assert Tagger([("x y", 1), ("X-Y", 2), ("x y", 1)])(["x", "y"]) == [(0, 2, (1, 2))]


def test_agrees_with_a_regular_expression_of_alternatives():
    rng = np.random.default_rng(0)
    letters = np.array(list("abcd"))
    pattern = re.compile(r"\b(" + "|".join(sorted((p for p, _ in PHRASES), key=len, reverse=True)) + r")\b")
    for _ in range(200):
        text = " ".join(rng.choice(letters, 12))
        expected = [m.group() for m in pattern.finditer(text)]
        sentence = words(text)
        assert [" ".join(sentence[s.start : s.end]) for s in Tagger(PHRASES)(sentence)] == expected


def test_time_is_linear():
    tagger = Tagger([(" ".join("a" * n), n) for n in range(1, 5)])

    def seconds(n):
        start = time.perf_counter()
        tagger(["a", "x"] * n)
        return time.perf_counter() - start

    assert min(seconds(40_000) for _ in range(3)) < 40 * min(seconds(4_000) for _ in range(3))


def test_words():
    assert words("Non-scaly, 0.5 cm (“bull's-eye”) - Bullae.") == [
        "non", "scaly", ",", "0.5", "cm", "(", "bull", "s", "eye", ")", ";", "bulla",
    ]  # fmt: skip
    assert plain_words("White (hypopigmentation)") == ["white", "hypopigmentation"]
    assert words("oedema naevi tumours Keratoses rashes scabies") == [
        "edema", "nevus", "tumor", "keratosis", "rash", "scaby",
    ]  # fmt: skip
