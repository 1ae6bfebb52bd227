"""Cross-modal retrieval: does a picture find its text among all texts, and a text its picture?

Two numbers go by "recall@k". Here ``recall@k`` is the one vision-language papers print: the share of queries with at
least one right answer among the first k (a hit rate). ``true recall@k`` is the share of all right answers found among
the first k, averaged over queries; with one right answer each the two are equal, with m > k it is at most k/m.

Equal strings are the same answer: a picture's positives are all occurrences of its text, a text's positives are all
pictures that carry it. ``diagonal=True`` is the literal protocol of CLIP and its followers, where only the picture's
own occurrence counts and a duplicate is an error.

Ties are broken against the model: a wrong answer with the same score (to 1e-9) comes first. A collapsed model, all of
whose scores are equal, therefore scores 0 and not 100 %.

Shapes: Q queries, C candidates, S distinct texts, D embedding, K cut-offs.
"""

from dataclasses import dataclass

import numpy as np

from dermis.evaluation.prompt_classification import unit_length

CELLS = 4_000_000
"""similarities held at a time (queries of a chunk × candidates)"""


@dataclass(frozen=True)
class Retrieved:
    """Per query: the rank of the first right answer (Q,), how many are among the first k (Q, K), how many there are
    (Q,), and the average precision (Q,)."""

    first: np.ndarray
    found: np.ndarray
    positives: np.ndarray
    average_precision: np.ndarray
    ks: tuple[int, ...]

    def metrics(self, weight_RQ: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """name -> value (R,) under R vectors of query weights (bootstrap draws; the candidates stay)."""
        weight_RQ = np.ones((1, len(self.first))) if weight_RQ is None else weight_RQ
        total_R = weight_RQ.sum(axis=1)
        values = {f"recall@{k}": weight_RQ @ (self.first <= k) / total_R for k in self.ks}
        share_QK = self.found / self.positives[:, None]
        values |= {f"true recall@{k}": weight_RQ @ share_QK[:, i] / total_R for i, k in enumerate(self.ks)}
        values["mean average precision"] = weight_RQ @ self.average_precision / total_R
        values["mean rank"] = weight_RQ @ self.first / total_R
        values["median rank"] = weighted_median(self.first, weight_RQ)
        return values


def image_to_text(
    image_ND: np.ndarray,
    text_SD: np.ndarray,
    text_of_N: np.ndarray,
    ks: tuple[int, ...] = (1, 5, 10),
    *,
    diagonal: bool = False,
    cells: int = CELLS,
) -> Retrieved:
    """Pictures ask, the N texts (occurrences of S distinct ones; ``text_of_N[n]`` is picture n's) answer."""
    key_N = np.arange(len(text_of_N)) if diagonal else text_of_N
    return retrieve(image_ND, text_SD, key_N, key_N, ks, candidate_row_C=text_of_N, cells=cells)


def text_to_image(
    image_ND: np.ndarray,
    text_SD: np.ndarray,
    text_of_N: np.ndarray,
    ks: tuple[int, ...] = (1, 5, 10),
    *,
    diagonal: bool = False,
    cells: int = CELLS,
) -> Retrieved:
    """The N texts ask (a text that N cases share asks N times), the N pictures answer."""
    key_N = np.arange(len(text_of_N)) if diagonal else text_of_N
    if diagonal:
        return retrieve(text_SD[text_of_N], image_ND, key_N, key_N, ks, cells=cells)
    asked_S, query_of_N = np.unique(text_of_N, return_inverse=True)
    once = retrieve(text_SD[asked_S], image_ND, asked_S, key_N, ks, cells=cells)
    return Retrieved(
        once.first[query_of_N],
        once.found[query_of_N],
        once.positives[query_of_N],
        once.average_precision[query_of_N],
        ks,
    )


def retrieve(
    query_QD: np.ndarray,
    candidate_SD: np.ndarray,
    query_key_Q: np.ndarray,
    candidate_key_C: np.ndarray,
    ks: tuple[int, ...],
    *,
    candidate_row_C: np.ndarray | None = None,
    cells: int = CELLS,
) -> Retrieved:
    """Rank all candidates for each query by cosine; a candidate is right if its key equals the query's.

    ``candidate_row_C``: candidate c is row ``candidate_row_C[c]`` of ``candidate_SD`` (repeated texts are scored once,
    so that their ties are exact); default: they are the rows. Never more than about ``cells`` similarities at a time.
    Raises ValueError for a query without a right answer and for k outside 1 … C.
    """
    if wrong := [k for k in ks if not 1 <= k <= len(candidate_key_C)]:
        raise ValueError(
            f"k must lie between 1 and the number of candidates, {len(candidate_key_C)}; it is {wrong[0]}."
        )
    if not np.isin(query_key_Q, candidate_key_C).all():
        raise ValueError("a query has no right answer among the candidates.")
    query_QD, candidate_SD = (unit_length(np.asarray(x, dtype=np.float64)) for x in (query_QD, candidate_SD))
    step = max(1, cells // len(candidate_key_C))
    parts = []
    for start in range(0, len(query_QD), step):
        score_qC = query_QD[start : start + step] @ candidate_SD.T
        if candidate_row_C is not None:
            score_qC = score_qC[:, candidate_row_C]
        right_qC = query_key_Q[start : start + step, None] == candidate_key_C
        parts.append(_ranked(score_qC, right_qC, ks))
    return Retrieved(*(np.concatenate(column) for column in zip(*parts, strict=True)), tuple(ks))


def ranking_key(score_qC: np.ndarray, right_qC: np.ndarray) -> np.ndarray:
    """One integer per candidate (q, C) that sorts by falling score and, at equal scores, wrong before right.

    Its last bit says which are right. Rounding makes equal what differs by the order of summation alone.
    """
    return np.rint(score_qC * -1e9).astype(np.int64) * 2 + right_qC


def _ranked(score_qC: np.ndarray, right_qC: np.ndarray, ks: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    right_qC = np.sort(ranking_key(score_qC, right_qC), axis=1) & 1
    found_qC = np.cumsum(right_qC, axis=1)
    positives_q = found_qC[:, -1]
    precision_qC = found_qC / np.arange(1, right_qC.shape[1] + 1)
    average_q = (precision_qC * right_qC).sum(axis=1) / positives_q
    return right_qC.argmax(axis=1) + 1, found_qC[:, [k - 1 for k in ks]], positives_q, average_q


def by_chance(positives_Q: np.ndarray, candidates: int, ks: tuple[int, ...]) -> dict[str, float]:
    """What an order at random gives queries with that many right answers: metric -> expected value.

    The first of m right answers among C candidates has rank (C + 1) / (m + 1), and the first k hold none of them with
    probability (C - m)/C · (C - m - 1)/(C - 1) · … (k factors).
    """
    left_QK = np.maximum(candidates - positives_Q[:, None] - np.arange(max(ks, default=0)), 0)
    missed_QK = np.cumprod(left_QK / (candidates - np.arange(left_QK.shape[1])), axis=1)
    chances = {f"recall@{k}": float(1 - missed_QK[:, k - 1].mean()) for k in ks}
    chances |= {f"true recall@{k}": k / candidates for k in ks}
    return chances | {"mean rank": float(((candidates + 1) / (positives_Q + 1)).mean())}


def weighted_median(value_Q: np.ndarray, weight_RQ: np.ndarray) -> np.ndarray:
    """Median (R,) of values that occur ``weight`` times; the mean of the two middle ones if they differ."""
    order = np.argsort(value_Q, kind="stable")
    value_Q, below_RQ = value_Q[order], np.cumsum(weight_RQ[:, order], axis=1)
    half_R1 = below_RQ[:, -1:] / 2
    lower, upper = (below_RQ < half_R1).sum(axis=1), (below_RQ <= half_R1).sum(axis=1)
    return (value_Q[lower] + value_Q[np.minimum(upper, len(value_Q) - 1)]) / 2
