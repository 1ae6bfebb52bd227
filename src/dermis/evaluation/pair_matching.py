"""Pair matching (SM3, Wang et al. 2024, Table III): does a lesion's dermoscopy find its clinical photograph?

Every dermoscopic picture asks by cosine among the clinical pictures of all cases: the average rank of the right one
(1 is best), and how often it is the first (Acc@1) or among the first five (Acc@5). The paper gives one direction and
no code; here both directions are computed. A wrong picture as similar as the right one (to 1e-9) comes first, as in
``retrieval``: a collapsed model has the last rank.

The paper's "total 413" are the training pairs, which were optimised directly; pairs of another split say more. Both
vectors must be of one width; trunks that never met in training are compared all the same, as the paper does (ImageNet).

Shapes: N cases, D embedding, R vectors of query weights (bootstrap draws; the gallery stays).
"""

import numpy as np

from dermis.evaluation.retrieval import CELLS, Retrieved, retrieve

TO_CLINICAL, TO_DERMOSCOPY = "dermoscopy to clinical", "clinical to dermoscopy"
"""the two directions; the first is the paper's"""
AT = (1, 5)


def match_pairs(
    dermoscopy_ND: np.ndarray,
    clinical_ND: np.ndarray,
    *,
    at: tuple[int, ...] = AT,
    cells: int = CELLS,
) -> dict[str, Retrieved]:
    """Direction -> each query's rank and hits; row n of both is case n, and case n's own picture is the right answer.

    Other pictures of a lesion are wrong answers, as in the paper, whose set has one pair a lesion. At most about
    ``cells`` similarities are held at a time. Raises ValueError for vectors that do not fit each other, are not finite,
    or are fewer than the largest ``at``.
    """
    dermoscopy_ND, clinical_ND = np.asarray(dermoscopy_ND), np.asarray(clinical_ND)
    if dermoscopy_ND.ndim != 2 or dermoscopy_ND.shape != clinical_ND.shape:
        raise ValueError(
            f"dermoscopy and clinical vectors must both be (cases, width) of one space; got {dermoscopy_ND.shape} and "
            f"{clinical_ND.shape}."
        )
    for name, x_ND in (("dermoscopy", dermoscopy_ND), ("clinical", clinical_ND)):
        if bad := int((~np.isfinite(x_ND)).any(axis=1).sum()):
            raise ValueError(f"{bad} of {len(x_ND)} {name} vectors are not finite.")
    case_N = np.arange(len(clinical_ND))
    return {
        TO_CLINICAL: retrieve(dermoscopy_ND, clinical_ND, case_N, case_N, at, cells=cells),
        TO_DERMOSCOPY: retrieve(clinical_ND, dermoscopy_ND, case_N, case_N, at, cells=cells),
    }


def pair_metrics(found: Retrieved, weight_RN: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The table's columns of one direction under query weights: "average rank", "acc@1", "acc@5" -> value (R,)."""
    values = found.metrics(weight_RN)
    return {"average rank": values["mean rank"]} | {f"acc@{k}": values[f"recall@{k}"] for k in found.ks}


def by_chance(cases: int, at: tuple[int, ...] = AT) -> dict[str, float]:
    """What random vectors get where one picture is right: (N + 1) / 2, and k / N; 207 of 413 for the paper's table."""
    return {"average rank": (cases + 1) / 2} | {f"acc@{k}": min(k / cases, 1.0) for k in at}
