"""Extrapolation of metadata (SLIMP, arXiv 2505.23709): a case of which there is only a picture gets the columns of
lesion and patient of the reference case that looks most like it.

The paper copies from the nearest picture in the space of image embeddings; cosine, several neighbours and everything
about who may be a source are ours. No case takes from its kin (``cases/kinship.py``: the same case, patient, lesion,
origin, or picture), nor, where ``near_duplicate`` is set, from a picture with a cosine of that much or more. A case for
which no reference case is left stays without.

The columns of one case come from one source, so they fit each other; cases of one patient may get different patients.
How good the copies are is measured by ``extrapolation_agreement``.

Shapes: N query cases, M reference cases, D embedding, K sources of a case (positions in the reference, -1 for none).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from dermis.cases.kinship import kinship
from dermis.cases.label_proxies import refuse_label_proxies
from dermis.cases.manifest import Manifest
from dermis.cases.table_schema import CIRCULAR, metadata_columns
from dermis.evaluation.prompt_classification import unit_length
from dermis.evaluation.retrieval import CELLS
from dermis.registry import unknown

TEMPERATURE = 0.07
"""of the weights by similarity, as in ``knn``"""
BLOCK = 8192
"""reference cases that are compared at a time"""
NONE = -1
NOBODY = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Extrapolated:
    """What the nearest reference cases say of each query, and who they are."""

    query: Manifest
    reference: Manifest
    table: pd.DataFrame
    """(N rows) the columns as the sources have them, whatever the query itself knows"""
    source: np.ndarray
    """(N, K) positions in the reference, nearest first; -1 for none"""
    similarity: np.ndarray
    """(N, K) cosine; NaN for none"""
    query_kin: np.ndarray
    reference_kin: np.ndarray
    """(N,) and (M,) equal numbers: never a source (``cases/kinship.py``)"""

    @property
    def columns(self) -> list[str]:
        """The columns that were taken."""
        return list(self.table.columns)

    def sources(self) -> pd.DataFrame:
        """One row for each case and source: case_id, rank (1 is nearest), source_id, similarity; a case without a
        source has one row, with nulls."""
        has_NK = self.source != NONE
        has_NK[:, 0] = True
        n, rank = np.nonzero(has_NK)
        ids = self.reference.table["case_id"].reindex(self.source[n, rank]).to_numpy()
        case_ids = self.query.table["case_id"].to_numpy()[n]
        found = {"case_id": case_ids, "rank": rank + 1, "source_id": ids, "similarity": self.similarity[n, rank]}
        return pd.DataFrame(found)

    def filled(self, *, overwrite: bool = False) -> Manifest:
        """The query with what it lacks filled in; with ``overwrite`` the sources' values replace its own too."""
        table, categories = self.query.table.copy(), dict(self.query.categories)
        for column in self.columns:
            taken = self.table[column]
            if column in self.query:
                taken = taken.combine_first(table[column]) if overwrite else table[column].combine_first(taken)
            table[column] = taken
            if column in self.reference.categories:
                known = self.reference.categories[column]
                own = categories.get(column, []) if column in self.query else []
                categories[column] = known + [value for value in own if value not in known]
            else:
                categories.pop(column, None)
        return Manifest.build(table, self.query.root, categories)


def extrapolate(
    query_ND: np.ndarray,
    query: Manifest,
    reference_MD: np.ndarray,
    reference: Manifest,
    columns: Sequence[str] | None = None,
    *,
    k: int = 1,
    weighting: Literal["uniform", "similarity"] = "uniform",
    near_duplicate: float | None = None,
    same_P2: np.ndarray | None = None,
    cells: int = CELLS,
) -> Extrapolated:
    """Take ``columns`` (None: all lesion.NAME and patient.NAME that the reference knows) from the ``k`` most similar.

    Row n of the vectors is case n; a row of zeros is a picture that could not be read, which has and is no source.
    ``same_P2``: pictures known to be the same (``kinship.same_pictures``). k = 1 copies, nulls too; with more, those
    that know a value vote (``combined``), alike or with weight exp(cosine / 0.07). Of equally similar cases (to 1e-9)
    the first of the reference comes first. At most about ``cells`` similarities are held at a time. Raises ValueError
    for vectors that do not fit, k below 1, a weighting of one source, a ``near_duplicate`` that is not above 0 and at
    most 1, and what ``columns_to_take`` refuses.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1; it is {k}.")
    if weighting not in ("uniform", "similarity"):
        raise unknown("weighting", weighting, ("uniform", "similarity"))
    if weighting != "uniform" and k == 1:
        raise ValueError("weighting has no effect with k = 1: one source is copied as it is.")
    if near_duplicate is not None and not 0 < near_duplicate <= 1:  # NaN is neither
        raise ValueError(f"near_duplicate is a cosine above 0 and at most 1; it is {near_duplicate}.")
    columns = columns_to_take(query, reference, columns)
    query_ND, reference_MD = _vectors(query_ND, query, "query"), _vectors(reference_MD, reference, "reference")
    if query_ND.shape[1] != reference_MD.shape[1]:
        widths = f"{query_ND.shape[1]} and {reference_MD.shape[1]}"
        raise ValueError(f"query and reference must be embedded by one model; their vectors are {widths} wide.")
    kin_N, kin_M = kinship(query, reference, same_P2)
    source_NK, similarity_NK = nearest(query_ND, reference_MD, kin_N, kin_M, k, near_duplicate, cells)
    weight_NK = np.ones(source_NK.shape)
    if weighting == "similarity":
        # the nearest weighs 1: the factor cancels
        weight_NK = np.exp((np.nan_to_num(similarity_NK) - np.nan_to_num(similarity_NK[:, :1])) / TEMPERATURE)
    table = combined(reference, columns, source_NK, weight_NK)
    return Extrapolated(query, reference, table, source_NK, similarity_NK, kin_N, kin_M)


def columns_to_take(query: Manifest, reference: Manifest, columns: Sequence[str] | None = None) -> list[str]:
    """``columns``, or all metadata that the reference knows.

    Raises ValueError for a column that the reference lacks or that is of two kinds, and for one that gives the
    diagnosis away (``cases.label_proxies``) and that nobody asked for by name.
    """
    there = metadata_columns(reference)
    if not there:
        raise ValueError("the reference has no column lesion.NAME or patient.NAME with a value to take.")
    if columns is None:
        refuse_label_proxies(there, "columns (--columns)")
    chosen = there if columns is None else list(dict.fromkeys(columns))
    for column in chosen:
        if column not in there:
            raise unknown("metadata column of the reference", column, there)
        if column in query and (column in query.categories) != (column in reference.categories):
            a, b = ("categories", "numbers") if column in query.categories else ("numbers", "categories")
            raise ValueError(f"{column} holds {a} in the query and {b} in the reference.")
    return chosen


def nearest(
    query_ND: np.ndarray,
    reference_MD: np.ndarray,
    kin_N: np.ndarray,
    kin_M: np.ndarray,
    k: int,
    near_duplicate: float | None = None,
    cells: int = CELLS,
) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar reference cases that are no kin: positions int64 and cosines float64, both (N, min(k, M))."""
    M, k = len(reference_MD), min(k, len(reference_MD))
    source_NK = np.full((len(query_ND), k), NONE, np.int64)
    similarity_NK = np.full((len(query_ND), k), np.nan)
    width = max(1, min(M, BLOCK, cells))
    height = max(1, cells // width)
    for start in range(0, len(query_ND), height):
        rows = slice(start, start + height)
        q_nD = _unit(query_ND[rows])
        best_nK = np.full((len(q_nD), k), NOBODY)
        for place in range(0, M, width):
            others = slice(place, place + width)
            r_mD = _unit(reference_MD[others])
            cosine_nm = q_nD @ r_mD.T
            barred_nm = (kin_N[rows, None] == kin_M[others]) | ~q_nD.any(axis=1)[:, None] | ~r_mD.any(axis=1)
            if near_duplicate is not None:
                barred_nm |= cosine_nm >= near_duplicate
            # one integer a candidate, by falling cosine and then by place: blocks of any size give the same order
            key_nm = np.rint(cosine_nm * -1e9).astype(np.int64) * M + np.arange(place, place + len(r_mD))
            key_nm[barred_nm] = NOBODY
            best_nK = np.partition(np.concatenate([best_nK, key_nm], axis=1), k - 1, axis=1)[:, :k]
        best_nK.sort(axis=1)
        has_nK = best_nK < NOBODY
        source_NK[rows] = np.where(has_nK, best_nK % M, NONE)
        for j, source_n in enumerate(source_NK[rows].T):
            cosine_n = (q_nD * _unit(reference_MD[source_n])).sum(axis=1)
            similarity_NK[rows, j] = np.where(has_nK[:, j], cosine_n, np.nan)
    return source_NK, similarity_NK


def combined(reference: Manifest, columns: Sequence[str], source_NK: np.ndarray, weight_NK: np.ndarray) -> pd.DataFrame:
    """The columns of each case (N rows) out of its sources'; null where no source knows the value.

    One source is copied as it is. Several vote for a category (of equal votes the nearest source's wins), numbers are
    averaged, directions (``CIRCULAR``) by their mean direction; the sin and cos that stand for a direction are numbers.
    """
    if source_NK.shape[1] == 1:  # -1 is no label of a manifest, so it gives null, here and below
        return reference.table[list(columns)].reindex(source_NK[:, 0]).reset_index(drop=True)
    found = {}
    for column in columns:
        values = reference.table[column]
        if column in reference.categories:
            found[column] = values.reindex(_elected(values, source_NK, weight_NK)).reset_index(drop=True)
            continue
        x_NK = values.to_numpy(np.float64, na_value=np.nan)[source_NK]
        w_NK = np.where(np.isnan(x_NK) | (source_NK == NONE), 0.0, weight_NK)
        x_NK, total_N = np.where(w_NK > 0, x_NK, 0.0), w_NK.sum(axis=1)
        if column in CIRCULAR:
            mean_N = (w_NK * np.exp(2j * np.pi * x_NK / CIRCULAR[column])).sum(axis=1)
            angle_N = np.mod(np.angle(mean_N), 2 * np.pi) * CIRCULAR[column] / (2 * np.pi)
            # opposite directions cancel, and what is left is rounding
            found[column] = np.where(np.abs(mean_N) > 1e-9 * np.maximum(total_N, 1), angle_N, np.nan)
        else:
            found[column] = np.where(total_N > 0, (w_NK * x_NK).sum(axis=1) / np.maximum(total_N, 1e-300), np.nan)
    return pd.DataFrame(found, columns=list(columns))


def _elected(values: pd.Series, source_NK: np.ndarray, weight_NK: np.ndarray) -> np.ndarray:
    """For each case the nearest source with the category that most weight votes for (N,)."""
    code_NK = np.where(source_NK == NONE, NONE, pd.factorize(values)[0][source_NK])
    w_NK = np.where(code_NK == NONE, 0.0, weight_NK)
    vote_NK = np.stack([(w_NK * (code_NK == code_N[:, None])).sum(axis=1) for code_N in code_NK.T], axis=1)
    # rounding would otherwise decide between votes that are equal but for the order of summation
    best_N = np.round(vote_NK, 12).argmax(axis=1)
    elected_N = np.take_along_axis(source_NK, best_N[:, None], axis=1)[:, 0]
    return np.where((code_NK == NONE).all(axis=1), NONE, elected_N)


def _vectors(x_ND: np.ndarray, cases: Manifest, name: str) -> np.ndarray:
    x_ND = np.asarray(x_ND)
    if x_ND.ndim != 2 or len(x_ND) != len(cases):
        raise ValueError(f"the {name} has {len(cases)} cases, its vectors must be (cases, width); got {x_ND.shape}.")
    if bad := int((~np.isfinite(x_ND)).any(axis=1).sum()):
        raise ValueError(f"{bad} of {len(x_ND)} {name} vectors are not finite.")
    return x_ND


def _unit(x_ND: np.ndarray) -> np.ndarray:
    return unit_length(x_ND.astype(np.float64))
