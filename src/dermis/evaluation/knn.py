"""Weighted nearest neighbours by cosine (Wu et al. 2018, section 3.4; DINO's k = 20, temperature 0.07)."""

from collections.abc import Sequence

import numpy as np

from dermis.evaluation.prompt_classification import unit_length
from dermis.evaluation.retrieval import CELLS


def side_by_side(
    train_blocks: Sequence[np.ndarray], query_blocks: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of features (picture, table), (M, F) and (N, F) each, as one: (M, D) and (N, D).

    Each block is centred on the training cases and of unit length, so the cosine of the whole is the mean of the
    blocks' cosines: neither wins by its width or by a component that all cases share.
    """
    train, query = [], []
    for train_MF, query_NF in zip(train_blocks, query_blocks, strict=True):
        centre_F = train_MF.mean(axis=0, dtype=np.float64)
        train.append(unit_length(train_MF - centre_F))
        query.append(unit_length(query_NF - centre_F))
    return np.concatenate(train, axis=1), np.concatenate(query, axis=1)


def knn_scores(
    train_MD: np.ndarray,
    train_label_M: np.ndarray,
    query_ND: np.ndarray,
    classes: int,
    *,
    k: int = 20,
    temperature: float = 0.07,
    cells: int = CELLS,
) -> np.ndarray:
    """Class probabilities (N, C): the k nearest training cases vote with weight exp(cosine / temperature).

    Fewer than k training cases all vote. Never more than about ``cells`` similarities or votes are held at a time.
    """
    if k < 1 or not temperature > 0:
        raise ValueError(f"k must be at least 1 and temperature positive; they are {k} and {temperature}.")
    train_MD, query_ND = unit_length(train_MD), unit_length(query_ND)
    k = min(k, len(train_MD))
    one_hot_MC = np.eye(classes)[train_label_M]
    rows, step = [], max(1, cells // max(len(train_MD), k * classes))
    for start in range(0, len(query_ND), step):
        cosine_nM = query_ND[start : start + step] @ train_MD.T
        nearest_nk = np.argpartition(-cosine_nM, k - 1, axis=1)[:, :k]
        top_nk = np.take_along_axis(cosine_nM, nearest_nk, axis=1).astype(np.float64)
        # the largest is subtracted so that exp stays finite; it cancels in the normalisation
        vote_nk = np.exp((top_nk - top_nk.max(axis=1, keepdims=True)) / temperature)
        score_nC = np.einsum("nk,nkc->nc", vote_nk, one_hot_MC[nearest_nk])
        rows.append(score_nC / score_nC.sum(axis=1, keepdims=True))
    return np.concatenate(rows)
