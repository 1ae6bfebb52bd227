"""Text metrics against sacrebleu, brute force and the papers' formulas written out."""

import itertools
import math
import sys

import numpy as np
import pandas as pd
import pytest

from dermis.evaluation import text_metrics
from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.text_concepts import concept_statistics, mentioned_concepts, unsupported_concepts
from dermis.evaluation.text_metrics import (
    bleu,
    bleu_counts,
    cider_d,
    common_subsequence,
    rouge_l,
    text_statistics,
    words,
)

TEXTS = [
    "I have a mark on my nose. It itches and it bleeds.",
    "There is something on my back that I have had for 3 months.",
    "It has grown. It has grown. It has grown.",
    "something on my forearm",
    "",
]
REFERENCES = [
    "There is a mark on my nose. It itches, and it has bled.",
    "There is something on my back that I have had for 2 years. It has grown.",
    "I have a lesion on my chest. It has grown.",
    "Something on my forearm!",
    "It hurts.",
]
CHINESE = ["面部红斑伴瘙痒3个月", "背部黑色斑块。"], ["面部红斑2个月，伴瘙痒", "背部出现黑色斑块"]
ONES = np.ones((1, 5))


@pytest.mark.parametrize("texts, references, tokenize", [(TEXTS, REFERENCES, "13a"), (*CHINESE, "zh")])
def test_bleu_is_sacrebleu_s_also_of_resampled_cases(texts, references, tokenize):
    sacrebleu = pytest.importorskip("sacrebleu")
    counts_NK = bleu_counts(texts, references)
    weight_RN = np.vstack([np.ones(len(texts)), np.random.default_rng(0).integers(0, 3, (6, len(texts)))])
    weight_RN[:, 0] += 1
    for weights, ours in zip(weight_RN, bleu(counts_NK, weight_RN), strict=True):
        rows = np.repeat(np.arange(len(texts)), weights.astype(int))
        said, meant = ([of[i] for i in rows] for of in (texts, references))
        assert ours == pytest.approx(sacrebleu.corpus_bleu(said, [meant], tokenize=tokenize).score)


def test_bleu_by_hand():
    """3 of 4 words, 2 of 3 pairs, 1 of 2 triples, none of 1 quadruple (smoothed to 1/2), one word too short."""
    pytest.importorskip("sacrebleu")
    precisions = 3 / 4, 2 / 3, 1 / 2, 1 / 2
    expected = 100 * math.exp(1 - 5 / 4) * math.prod(precisions) ** 0.25
    assert bleu(bleu_counts(["a b c x"], ["a b c d e"]), np.ones((1, 1)))[0] == pytest.approx(expected)


def longest_common(a, b):
    """By trying all subsequences of a."""
    for length in range(len(a), 0, -1):
        for chosen in itertools.combinations(a, length):
            rest = iter(b)
            if all(token in rest for token in chosen):
                return length
    return 0


def test_the_longest_common_subsequence_is_the_one_found_by_trying_all():
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b = (list(rng.choice(list("xyz"), rng.integers(0, 9))) for _ in range(2))
        assert common_subsequence(a, b) == longest_common(a, b)


@pytest.mark.parametrize("beta", [1.0, 1.2])
def test_rouge_l_is_lin_s_equation(beta):
    scores = rouge_l(["the cat on a mat", "x", ""], ["a cat sat on the mat", "y", "z"], beta)
    recall, precision = 3 / 6, 3 / 5  # cat on mat
    expected = (1 + beta**2) * recall * precision / (recall + beta**2 * precision)
    np.testing.assert_allclose(scores, [expected, 0, 0])


def test_words_are_lower_case_and_han_characters():
    assert words("It's 6.5 mm, Type-II!") == ["it", "s", "6", "5", "mm", "type", "ii"]
    assert words("背部出现3mm的naevus。") == [*"背部出现", "3mm", "的", "naevus"]


def literal_cider_d(texts, references, sigma=6.0):
    """Equations of CIDEr-D over the space of all n-grams, one dense vector a text."""
    said, meant = [[words(t) for t in of] for of in (texts, references)]
    scores = []
    for c, s in zip(said, meant, strict=True):
        total = 0.0
        for n in (1, 2, 3, 4):

            def grams(tokens, n=n):
                return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]

            space = sorted({g for own in said + meant for g in grams(own)})
            rarity = [math.log(len(meant) / max(1, sum(g in grams(own) for own in meant))) for g in space]
            g_c, g_s = (np.array([grams(own).count(g) for g in space]) * rarity for own in (c, s))
            norm = np.linalg.norm(g_c) * np.linalg.norm(g_s)
            if norm > 0:
                penalty = math.exp(-((len(c) - len(s)) ** 2) / (2 * sigma**2))
                total += 10 * penalty * np.minimum(g_c, g_s) @ g_s / norm / 4
        scores.append(total)
    return scores


def test_cider_d_is_the_paper_s_formula():
    ours = cider_d(TEXTS, REFERENCES)
    np.testing.assert_allclose(ours, literal_cider_d(TEXTS, REFERENCES))
    assert ours[3] == pytest.approx(10)  # the same words, in capitals or not; all of its 1- to 4-grams known
    assert ours[4] == 0
    np.testing.assert_allclose(cider_d(*CHINESE), literal_cider_d(*CHINESE))
    assert cider_d(["a b"], ["a b"]).tolist() == [0]  # what every reference holds says nothing


def test_intervals_resample_all_of_them():
    pytest.importorskip("sacrebleu")
    found = intervals(text_statistics(TEXTS, REFERENCES), ["p", "p", "q", "r", "s"], n_boot=50, seed=0)
    assert list(found) == ["BLEU-4", "ROUGE-L", "CIDEr-D"]
    assert found["ROUGE-L"].value == pytest.approx(rouge_l(TEXTS, REFERENCES).mean())
    assert found["CIDEr-D"].value == pytest.approx(cider_d(TEXTS, REFERENCES).mean())
    assert all(i.low <= i.value <= i.high for i in found.values())
    assert all(i.low < i.high for i in found.values())


def test_wrong_input_is_a_sentence(monkeypatch):
    for metric in (bleu_counts, rouge_l, cider_d):
        with pytest.raises(ValueError, match="each text needs its reference: there are 1 texts and 2 references"):
            metric(["a"], ["a", "b"])
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ValueError, match=r"BLEU needs sacrebleu: pip install 'dermis\[text\]'"):
        text_metrics.bleu_counts(["a"], ["a"])


SAID = ["A scaly plaque without ulceration.", "No scale. There is an erosion.", "It is a nodule."]
MEANT = ["A plaque with scale and crust.", "An erosion; a plaque is not seen.", "It hurts."]


def test_concepts_count_where_they_are_stated():
    assert mentioned_concepts(SAID) == [{"scale", "plaque"}, {"erosion"}, {"nodule"}]
    assert mentioned_concepts(MEANT) == [{"scale", "plaque", "crust"}, {"erosion"}, frozenset()]


def test_concept_f1_by_hand():
    """Hits: scale, plaque, erosion; nodule is said and not meant, crust is meant and not said."""
    statistics = concept_statistics(SAID, MEANT)
    found = statistics(np.array([[1.0, 1, 1], [0, 0, 1], [1, 0, 0]]))
    np.testing.assert_allclose(found["concept F1 (micro)"], [2 * 3 / (4 + 4), 0, 2 * 2 / (2 + 3)])
    np.testing.assert_allclose(found["concept F1 (macro)"], [3 / 5, 0, 2 / 3])
    silent = concept_statistics(["It hurts."], ["It itches."])(np.ones((2, 1)))
    assert all(np.isnan(value_R).tolist() == [True, True] for value_R in silent.values())


def test_concepts_that_the_picture_does_not_show_are_unsupported():
    scores = pd.DataFrame(
        {"scale": [0.5, 0.1, 0.9], "Plaque": [0.2, 0.9, 0.9], "erosion": [0.0, np.nan, 0.0], "nodule": [1.0, 1.0, 0.4]}
    )
    found = unsupported_concepts(SAID, scores, 0.5)
    assert found.mentioned_N.tolist() == [2, 0, 1]  # the erosion has no score
    assert found.unsupported_N.tolist() == [1, 0, 1]
    np.testing.assert_allclose(found.share(np.array([[1.0, 1, 1], [0, 1, 0]])), [2 / 3, np.nan])
    assert unsupported_concepts(SAID, scores, 0.0).unsupported_N.sum() == 0
    spelt = unsupported_concepts(["There are milia-like cysts."], pd.DataFrame({"milia_like_cysts": [0.1]}), 0.5)
    assert (spelt.mentioned_N.tolist(), spelt.unsupported_N.tolist()) == ([1], [1])


def test_wrong_concept_input_is_a_sentence():
    with pytest.raises(ValueError, match="there are 1 texts, 2 references"):
        concept_statistics(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="1 texts, 2 rows"):
        unsupported_concepts(["a"], pd.DataFrame({"scale": [0, 1]}), 0.5)
    with pytest.raises(ValueError, match="none of the columns smell is a concept"):
        unsupported_concepts(["a"], pd.DataFrame({"smell": [0]}), 0.5)
    with pytest.raises(ValueError, match="'scale' and 'scaling' are both the concept 'scale'"):
        unsupported_concepts(["a"], pd.DataFrame({"scale": [0], "scaling": [1]}), 0.5)
