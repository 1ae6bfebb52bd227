"""Pair matching as the definition in loops, and what chance and a collapsed model get."""

import numpy as np
import pytest

from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.pair_matching import TO_CLINICAL, TO_DERMOSCOPY, by_chance, match_pairs, pair_metrics

N = 60


def pairs(noise=1.5, tied=False):
    """Two pictures of each case that resemble each other, three cases to a lesion."""
    rng = np.random.default_rng(0)
    lesion_ND = rng.normal(size=(N, 8))
    dermoscopy_ND, clinical_ND = (lesion_ND + noise * rng.normal(size=(N, 8)) for _ in range(2))
    if tied:  # a coarse grid makes many exactly equal similarities
        dermoscopy_ND, clinical_ND = np.sign(dermoscopy_ND), np.sign(clinical_ND)
    return dermoscopy_ND.astype(np.float32), clinical_ND.astype(np.float32), np.arange(N) // 3


def ranks(query_ND, gallery_ND):
    """1 + how many wrong pictures are at least as similar as the right one."""
    out = []
    for n in range(N):
        cosine = [
            round(float(query_ND[n].astype(float) @ g.astype(float)), 12)
            / float(np.linalg.norm(query_ND[n].astype(float)) * np.linalg.norm(g.astype(float)))
            for g in gallery_ND
        ]
        out.append(1 + sum(cosine[m] >= cosine[n] - 1e-10 for m in range(N) if m != n))
    return np.array(out)


@pytest.mark.parametrize("cells", [10, 1000, 10**6], ids=["one query at a time", "few", "whole"])
@pytest.mark.parametrize("tied", [False, True], ids=["distinct", "tied"])
def test_both_directions_are_the_loops(tied, cells):
    dermoscopy_ND, clinical_ND, _ = pairs(tied=tied)
    found = match_pairs(dermoscopy_ND, clinical_ND, cells=cells)
    assert list(found) == [TO_CLINICAL, TO_DERMOSCOPY]
    for direction, query, gallery in (
        (TO_CLINICAL, dermoscopy_ND, clinical_ND),
        (TO_DERMOSCOPY, clinical_ND, dermoscopy_ND),
    ):
        rank_N = ranks(query, gallery)
        np.testing.assert_array_equal(found[direction].first, rank_N)
        values = pair_metrics(found[direction])
        assert list(values) == ["average rank", "acc@1", "acc@5"]
        assert values["average rank"][0] == pytest.approx(sum(rank_N) / N)
        assert values["acc@1"][0] == pytest.approx(sum(r == 1 for r in rank_N) / N)
        assert values["acc@5"][0] == pytest.approx(sum(r <= 5 for r in rank_N) / N)


def test_other_photographs_of_the_lesion_are_wrong():
    """Two equal photographs of one lesion: each stands in the other's way."""
    vectors_ND = np.eye(6, dtype=np.float32)[[0, 0, 1, 2, 3, 4]]
    found = pair_metrics(match_pairs(vectors_ND, vectors_ND)[TO_CLINICAL])
    assert (found["acc@1"][0], found["average rank"][0]) == (pytest.approx(4 / 6), pytest.approx(8 / 6))


def test_chance_is_what_random_vectors_get():
    chance = by_chance(413)
    assert (chance["average rank"], round(chance["acc@1"], 4), round(chance["acc@5"], 3)) == (207, 0.0024, 0.012)
    assert by_chance(3)["acc@5"] == 1
    rng = np.random.default_rng(1)
    values = [pair_metrics(match_pairs(*rng.normal(size=(2, 413, 16)))[TO_CLINICAL]) for _ in range(10)]
    spread = 413 / 12**0.5 / (413 * 10) ** 0.5
    assert np.mean([v["average rank"] for v in values]) == pytest.approx(207, abs=4 * spread)
    assert np.mean([v["acc@5"] for v in values]) == pytest.approx(chance["acc@5"], abs=0.008)


def test_perfect_vectors_are_first_and_collapsed_ones_last():
    vectors_ND, same_ND = np.eye(10), np.ones((10, 4))
    for found in match_pairs(vectors_ND, 3 * vectors_ND).values():
        assert {name: value[0] for name, value in pair_metrics(found).items()} == {
            "average rank": 1, "acc@1": 1, "acc@5": 1
        }  # fmt: skip
    for found in match_pairs(same_ND, same_ND).values():
        assert {name: value[0] for name, value in pair_metrics(found).items()} == {
            "average rank": 10, "acc@1": 0, "acc@5": 0
        }  # fmt: skip


def test_weights_repeat_queries_and_the_bootstrap_takes_them():
    dermoscopy_ND, clinical_ND, lesion_N = pairs()
    found = match_pairs(dermoscopy_ND, clinical_ND)[TO_CLINICAL]
    weight_RN = np.random.default_rng(2).poisson(1.0, size=(3, N)).astype(float)
    for r, w in enumerate(weight_RN):
        rank = np.repeat(found.first, w.astype(int))
        values = pair_metrics(found, weight_RN)
        assert values["average rank"][r] == pytest.approx(rank.mean())
        assert values["acc@1"][r] == pytest.approx((rank == 1).mean())
        assert values["acc@5"][r] == pytest.approx((rank <= 5).mean())
    drawn = intervals(lambda w: pair_metrics(found, w), lesion_N, n_boot=50, seed=0)
    assert all(i.low < i.value < i.high for i in drawn.values())


def test_wrong_arguments_are_answered_with_a_sentence():
    dermoscopy_ND, clinical_ND, _ = pairs()
    with pytest.raises(ValueError, match=r"one space; got \(60, 8\) and \(60, 7\)"):
        match_pairs(dermoscopy_ND, clinical_ND[:, :7])
    with pytest.raises(ValueError, match="number of candidates, 4; it is 5"):
        match_pairs(dermoscopy_ND[:4], clinical_ND[:4])
    clinical_ND[2:4, 1] = np.nan
    with pytest.raises(ValueError, match="2 of 60 clinical vectors are not finite"):
        match_pairs(dermoscopy_ND, clinical_ND)
