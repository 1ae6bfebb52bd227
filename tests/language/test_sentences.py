"""Splitting sentences."""

import pytest

from dermis.language.sentences import split_sentences, sub_texts


@pytest.mark.parametrize("text, sentences", [
    ("One. Two! Three?", ["One.", "Two!", "Three?"]),
    ("A plaque of 0.5 mm. It itches.", ["A plaque of 0.5 mm.", "It itches."]),
    ("Rashes, e.g. Acne. See Fig. 2 by J. Smith.", ["Rashes, e.g. Acne.", "See Fig. 2 by J. Smith."]),
    ("approx. 3 cm (max. 4). Raised.", ["approx. 3 cm (max. 4).", "Raised."]),
    ("Diagnosed as psoriasis. treated since.", ["Diagnosed as psoriasis. treated since."]),
    ("No stop at the end", ["No stop at the end"]),
    ("Seen by Dr. Smith. It measures 0.5 mm.", ["Seen by Dr. Smith.", "It measures 0.5 mm."]),
    ("Rash (i.e. Papules) of ca. 2.5 vs. 3 cm. Firm.", ["Rash (i.e. Papules) of ca. 2.5 vs. 3 cm.", "Firm."]),
    ("左手红斑。伴瘙痒！持续两年", ["左手红斑。", "伴瘙痒！", "持续两年"]),
    ("左手红斑。 伴瘙痒！ 持续两年", ["左手红斑。", "伴瘙痒！", "持续两年"]),
    ("他说：“很痒。”伴鳞屑。", ["他说：“很痒。”", "伴鳞屑。"]),
    ("  ", []),
])  # fmt: skip
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


def test_nothing_is_lost_but_white_space():
    text = 'He said "stop." Then... nothing!  (See below.) 5.5 cm; e.g. this.\nNew line.'
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


def test_sub_texts_are_distinct_and_more_than_the_text():
    assert sub_texts("It itches. A plaque.  It ITCHES!") == ["It itches.", "A plaque."]
    assert sub_texts("A plaque.") is None
    assert sub_texts("A plaque. A plaque") is None
