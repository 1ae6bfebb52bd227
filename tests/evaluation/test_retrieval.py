"""Cross-modal retrieval against the definition written as loops over the whole similarity matrix."""

import numpy as np
import pytest

from dermis.evaluation.prompt_classification import unit_length
from dermis.evaluation.retrieval import image_to_text, retrieve, text_to_image, weighted_median

KS = (1, 3, 10)


def pairs(pictures=40, texts=12, decimals=None):
    """Pictures that resemble their text, and texts that several pictures share."""
    rng = np.random.default_rng(0)
    text_SD = rng.normal(size=(texts, 6)).astype(np.float32)
    text_of_N = np.r_[np.arange(texts), rng.integers(texts, size=pictures - texts)]
    image_ND = (text_SD[text_of_N] + 1.5 * rng.normal(size=(pictures, 6))).astype(np.float32)
    if decimals is not None:  # a coarse grid makes many exactly equal similarities
        image_ND, text_SD = (np.sign(x).astype(np.float32) for x in (image_ND, text_SD))
    return image_ND, text_SD, text_of_N


def by_loops(query_QD, candidate_CD, query_key_Q, candidate_key_C):
    """The definition, one query at a time: sort by similarity, at equal similarity wrong before right."""
    similarity = (unit_length(query_QD.astype(float)) @ unit_length(candidate_CD.astype(float)).T).round(9)
    values = {name: [] for name in ("first", "average precision", *KS)}
    hits = {k: [] for k in KS}
    for q in range(len(query_QD)):
        order = sorted(
            range(len(candidate_CD)), key=lambda c: (-similarity[q, c], candidate_key_C[c] == query_key_Q[q])
        )
        right = [bool(candidate_key_C[c] == query_key_Q[q]) for c in order]
        values["first"].append(right.index(True) + 1)
        precisions = [sum(right[: i + 1]) / (i + 1) for i, r in enumerate(right) if r]
        values["average precision"].append(np.mean(precisions))
        for k in KS:
            hits[k].append(any(right[:k]))
            values[k].append(sum(right[:k]) / sum(right))
    return (
        {f"recall@{k}": np.mean(hits[k]) for k in KS}
        | {f"true recall@{k}": np.mean(values[k]) for k in KS}
        | {
            "mean average precision": np.mean(values["average precision"]),
            "mean rank": np.mean(values["first"]),
            "median rank": np.median(values["first"]),
        }
    )


@pytest.mark.parametrize("cells", [10, 200, 10**6], ids=["one query at a time", "few", "whole"])
@pytest.mark.parametrize("diagonal", [False, True], ids=["equal texts are right", "only the own text is right"])
@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct similarities", "tied similarities"])
def test_both_directions_equal_the_loops(decimals, diagonal, cells):
    image_ND, text_SD, text_of_N = pairs(decimals=decimals)
    key_N = np.arange(len(text_of_N)) if diagonal else text_of_N
    text_ND = text_SD[text_of_N]
    for ask, query, candidate in ((image_to_text, image_ND, text_ND), (text_to_image, text_ND, image_ND)):
        ours = ask(image_ND, text_SD, text_of_N, KS, diagonal=diagonal, cells=cells).metrics()
        theirs = by_loops(query, candidate, key_N, key_N)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name][0] == pytest.approx(value, abs=1e-9), name


def test_duplicates_are_errors_only_on_the_diagonal():
    image_ND = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    perfect = image_to_text(image_ND, np.eye(3, dtype=np.float32), np.array([0, 0, 1, 2]), (1,))
    literal = image_to_text(image_ND, np.eye(3, dtype=np.float32), np.array([0, 0, 1, 2]), (1,), diagonal=True)
    assert perfect.metrics()["recall@1"][0] == 1
    assert literal.metrics()["recall@1"][0] == 0.5


def test_one_right_answer_each_makes_both_recalls_equal():
    image_ND, text_SD, _ = pairs(12, 12)
    values = text_to_image(image_ND, text_SD, np.arange(12), KS).metrics()
    for k in KS:
        assert values[f"recall@{k}"] == pytest.approx(values[f"true recall@{k}"])


def test_a_collapsed_model_scores_nothing():
    same = np.ones((50, 4), dtype=np.float32)
    assert image_to_text(same, same, np.arange(50), (1, 10)).metrics()["recall@10"][0] == 0


def test_similarities_that_differ_by_rounding_alone_are_ties():
    wrong = np.array([1.0, 1e-7])  # its cosine with the query is 5e-15 below that of the right one
    found = retrieve(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], wrong]), np.array([0]), np.array([0, 1]), (1,))
    assert found.first[0] == 2


def test_random_embeddings_score_by_chance():
    rng = np.random.default_rng(0)
    image_ND, text_ND = rng.normal(size=(2, 1000, 16)).astype(np.float32)
    assert image_to_text(image_ND, text_ND, np.arange(1000), (100,)).metrics()["recall@100"][0] == pytest.approx(
        0.1, abs=0.03
    )


def test_weights_repeat_queries():
    image_ND, text_SD, text_of_N = pairs()
    found = text_to_image(image_ND, text_SD, text_of_N, KS)
    weight_RN = np.random.default_rng(1).poisson(1.0, size=(3, len(image_ND))).astype(float)
    for r, w in enumerate(weight_RN):
        rows = np.repeat(np.arange(len(w)), w.astype(int))
        assert found.metrics(weight_RN)["mean rank"][r] == pytest.approx(found.first[rows].mean())
        assert found.metrics(weight_RN)["median rank"][r] == np.median(found.first[rows])
        assert found.metrics(weight_RN)["recall@3"][r] == pytest.approx((found.first[rows] <= 3).mean())


def test_weighted_median_is_numpys_on_repeated_values():
    rng = np.random.default_rng(2)
    for _ in range(50):
        value, weight = rng.integers(10, size=7), rng.integers(0, 3, size=7)
        if weight.sum():
            assert weighted_median(value, weight[None])[0] == np.median(np.repeat(value, weight))


def test_wrong_arguments_are_answered_with_a_sentence():
    with pytest.raises(ValueError, match="number of candidates, 3; it is 10"):
        retrieve(np.eye(3), np.eye(3), np.arange(3), np.arange(3), (1, 10))
    with pytest.raises(ValueError, match="no right answer"):
        retrieve(np.eye(3), np.eye(3), np.arange(3) + 1, np.arange(3), (1,))
