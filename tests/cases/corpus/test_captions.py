"""Caption length, language and near copies: sentences by hand, and all pairs compared as sets."""

import random
from itertools import combinations

import pandas as pd
import pytest

from dermis.cases.corpus.captions import other_language, unfit_length
from dermis.cases.corpus.near_captions import near_captions, repeated_captions

ENGLISH = [
    "Erythematous plaques with scale on the elbow.", "SCC", "Psoriasis", "psoriasis plaque on knee", "nevus 5mm",
    "Papular urticaria", "pityriasis lichenoides et varioliformis acuta", "lichen sclerosus et atrophicus", "?",
    "67F with itchy rash", "hello doctor i have these bumps on my face", "Melanoma in situ, dermoscopy 10x",
    "annular erythematous plaque", "The sign reads 皮膚科 and the patient has vitiligo",
]  # fmt: skip
FOREIGN = [
    "Hautveränderung am Unterarm mit rötlichen Flecken", "Lesión pigmentada en la espalda de un paciente varón",
    "患者男性，左臂红斑", "Здравствуйте, у меня пятно на коже", "皮膚に赤い発疹があります", "طفح جلدي على الذراع",
    "Bonjour docteur, j'ai des boutons sur le visage", "Lesão pigmentada no dorso",
]  # fmt: skip


def test_length_counts_words():
    captions = pd.Series(["a red plaque", "red", None, "one two three four five", "患者红斑", " . "])
    assert unfit_length(captions, 3, 4).to_dict() == {
        1: "the caption has 1 word(s), fewer than 3",
        2: "there is no caption",
        3: "the caption has 5 words, more than 4",
        5: "there is no caption",
    }
    with pytest.raises(ValueError, match="captions of 5 to 4 words"):
        unfit_length(captions, 5, 4)


def test_english_and_latin_stay_and_the_clearly_foreign_go():
    pytest.importorskip("py3langid")
    captions = pd.Series([*ENGLISH, None, *FOREIGN])
    found = other_language(captions, "en")
    assert [captions[row] for row in found.index] == FOREIGN
    assert "'de'" in found.iloc[0]
    assert "script" in found.iloc[2]


def test_another_language_may_be_wanted():
    pytest.importorskip("py3langid")
    captions = pd.Series(
        ["患者男性，左臂红斑", "hello doctor i have these bumps on my face", "皮膚に赤い発疹があります"]
    )
    assert other_language(captions, "zh").index.tolist() == [1, 2]
    with pytest.raises(ValueError, match="unknown language 'english'"):
        other_language(captions, "english")


@pytest.fixture(scope="module")
def wordy():
    """Sixty captions of 20 words; every third one is a changed copy of the one before it."""
    rng = random.Random(0)
    words = [f"word{i}" for i in range(300)]
    captions = []
    for number in range(60):
        if number % 3 == 2:
            copy = captions[-1].split()
            for _ in range(number % 4):
                copy[rng.randrange(len(copy))] = "other"
            captions.append(" ".join(copy))
        else:
            captions.append(" ".join(rng.choices(words, k=20)))
    return captions


def resemblance(a: str, b: str) -> float:
    one, two = ({tuple(text.split()[i : i + 3]) for i in range(len(text.split()) - 2)} for text in (a, b))
    return len(one & two) / len(one | two)


@pytest.mark.parametrize("likeness", [0.5, 0.7, 1.0])
def test_near_copies_are_those_of_all_pairs(wordy, likeness):
    expected = {}
    for earlier, later in combinations(range(60), 2):
        if (alike := resemblance(wordy[earlier], wordy[later])) >= likeness:
            expected.setdefault(later, (earlier, pytest.approx(alike)))
    found = {match.row: (match.other, match.resemblance) for match in near_captions(pd.Series(wordy), likeness)}
    assert len(expected) >= 5
    assert found == expected


def test_another_table_is_searched_whole(wordy):
    asked = pd.Series([None, wordy[4].upper().replace(" ", ", "), "too short to tell", "nothing like it " * 5])
    matches = near_captions(asked, 0.8, among=pd.Series([None, *wordy]))
    assert [(match.row, match.other, match.resemblance) for match in matches] == [(1, 5, 1.0)]


def test_chinese_without_spaces_has_near_copies_too():
    captions = pd.Series(
        ["患者男性，左前臂红色丘疹伴瘙痒三天，无发热。", "患者女性，面部褐色斑片十年余，无自觉症状。"] * 2
    )
    assert [(match.row, match.other) for match in near_captions(captions, 0.8)] == [(2, 0), (3, 1)]
    changed = pd.Series([captions[0], captions[0].replace("三天", "四天"), "2型糖尿病患者，左小腿红斑"])
    assert [match.row for match in near_captions(changed, 0.6)] == [1]
    assert unfit_length(pd.Series(["2型糖尿病"]), 5, 9).empty


def test_the_sentence_names_the_case(wordy):
    captions, ids = pd.Series([wordy[0], wordy[1], wordy[0]]), pd.Series(["a", "b", "c"])
    assert repeated_captions(captions, ids, 0.9).to_dict() == {2: "the caption resembles that of case a (1.00)"}
    with pytest.raises(ValueError, match="likeness 0 of captions"):
        near_captions(captions, 0)


def test_many_captions_of_one_template_stay_affordable():
    captions = pd.Series([f"a photograph of a patient with skin type four and lesion number {i}" for i in range(3000)])
    found = near_captions(captions, 0.8)
    assert {match.row for match in found} == set(range(1, 3000))
