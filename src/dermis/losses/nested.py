"""SLIMP's loss: a lesion's picture finds its table, and a patient's lesions together find the patient's table.

After SLIMP (arXiv 2505.23709): L = λ L_lesions + (1 - λ) L_patient, both InfoNCE. Its temperature, λ and what counts as
a negative are not known to us. N lesions of P patients, width D (which may differ between the levels).
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dermis.losses.contrastive import copies, own_rows
from dermis.losses.logsumexp import Keep, pairwise_logsumexp
from dermis.registry import unknown

SamePatient = Literal["negatives", "excluded"]
Shared = Literal["soft", "once"]


def nested(
    lesion_image_ND: Tensor,
    lesion_table_ND: Tensor,
    patient_N: Tensor,
    phenotype_PD: Tensor,
    patient_table_PD: Tensor,
    temperature: Tensor | float,
    *,
    weight: float = 0.5,
    patient_group_P: Tensor | None = None,
    lesion_group_N: Tensor | None = None,
    shared: Shared = "soft",
    same_patient: SamePatient = "negatives",
    mask_N: Tensor | None = None,
    lesion_first: int = 0,
    lesion_rows: int | None = None,
    patient_first: int = 0,
    patient_rows: int | None = None,
    ranks: float | None = None,
    chunk: int | None = None,
) -> dict[str, Tensor]:
    """Two symmetric InfoNCE, one inside the other; normalises its inputs.

        lesion    info_nce of the N lesions' pictures and tables
        patient   info_nce of the P patients' phenotypes (their lesions, pooled by the caller) and tables
        loss      weight · lesion + (1 - weight) · patient

    ``patient_N``: equal value = lesions of one patient, over all ranks. They are each other's ``"negatives"``, or
    ``"excluded"`` from each other's denominators. ``patient_group_P``: equal value = patients with the same table, whom
    no loss can tell apart; they are positives of each other. None is the literal loss, in which they are negatives.
    ``lesion_group_N``: the same for lesions with the same table (ours: where a table is short, many are alike).
    ``shared``: how positives are shared, as ``info_nce`` has it.
    ``mask_N``: False = padding. ``chunk`` as ``info_nce`` has it.

    With several ranks the rows are the gathered ones, and lesions and patients each have their own rows. ``ranks`` is
    how many share the batch, and the shares average to the whole however unequal they are; None: P / ``patient_rows``.

    Raises ValueError for an unknown ``same_patient``, for own rows of one level without the other's, and as
    ``info_nce`` does.
    """
    if same_patient not in get_args(SamePatient):
        raise unknown("same_patient of nested", same_patient, get_args(SamePatient))
    if (lesion_rows is None) != (patient_rows is None):
        raise ValueError("lesion_rows and patient_rows are given together, or neither of them.")
    _per_row("patient_N", patient_N, lesion_image_ND)
    _per_row("patient_group_P", patient_group_P, phenotype_PD)
    patient = info_nce(
        phenotype_PD,
        patient_table_PD,
        temperature,
        shared_N=patient_group_P,
        shared=shared,
        first=patient_first,
        rows=patient_rows,
        ranks=ranks,
        chunk=chunk,
    )
    lesion = info_nce(
        lesion_image_ND,
        lesion_table_ND,
        temperature,
        shared_N=lesion_group_N,
        shared=shared,
        excluded_N=patient_N if same_patient == "excluded" else None,
        mask_N=mask_N,
        first=lesion_first,
        rows=lesion_rows,
        ranks=ranks or len(phenotype_PD) / (patient_rows or len(phenotype_PD)),
        chunk=chunk,
    )
    return {"lesion": lesion, "patient": patient, "loss": weight * lesion + (1 - weight) * patient}


def info_nce(
    x_ND: Tensor,
    y_ND: Tensor,
    temperature: Tensor | float,
    *,
    shared_N: Tensor | None = None,
    shared: Shared = "soft",
    excluded_N: Tensor | None = None,
    mask_N: Tensor | None = None,
    first: int = 0,
    rows: int | None = None,
    ranks: float | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Symmetric InfoNCE between two sides whose rows may resemble each other; normalises its inputs.

        mean_i  -1/2 Σ_j q_ij ( log e^{x_i·y_j/τ} / Σ_{k ∈ K_i} e^{x_i·y_k/τ}  +  the same with x and y exchanged )

    q_i is uniform over the positives of row i: the rows with its value of ``shared_N``; None: row i alone. K_i is all
    rows but those that have its value of ``excluded_N`` and are no positives. Rows where ``mask_N`` is False are
    padding: neither anchors nor in a sum. ``chunk`` bounds memory to O(chunk · N) without changing the value. Without
    these options it is ``contrastive.clip`` with scale 1/τ.

    Where y of equal ``shared_N`` are equal vectors, as one tower makes them of equal tables, uniform targets change
    neither value nor gradient: the literal loss already treats all of a group alike. ``shared="once"`` does change
    them: as ``clip`` has it for texts, y of a group count once among the y, and a y scores the mean probability over
    the x of its group, so that some of them may lie elsewhere.

    With several ranks the caller passes the gathered rows of all and says which are its own: ``rows`` of them from
    ``first`` on. The result is their share, whose mean over ranks is the loss of the whole batch. ``ranks`` is how many
    share the batch; None: N / ``rows``, as when all have equally many.

    Raises ValueError for different shapes, rows outside the batch, nothing but padding, or a chunk below 1.
    """
    if x_ND.shape != y_ND.shape or x_ND.ndim != 2:
        raise ValueError(f"both sides must be (N, D) alike, not {tuple(x_ND.shape)} and {tuple(y_ND.shape)}.")
    own = own_rows(len(x_ND), first, rows)
    for name, of_row in (("shared_N", shared_N), ("excluded_N", excluded_N), ("mask_N", mask_N)):
        _per_row(name, of_row, x_ND)
    if shared not in get_args(Shared):
        raise unknown("way to share positives", shared, get_args(Shared))
    if ranks is None:
        ranks = len(x_ND) / len(x_ND[own])
    if mask_N is not None:
        if not mask_N.any():
            raise ValueError("every row is padding, so there is nothing to compare.")
        x_ND, y_ND = x_ND[mask_N], y_ND[mask_N]
        shared_N, excluded_N = (ids if ids is None else ids[mask_N] for ids in (shared_N, excluded_N))
        own = slice(int(mask_N[: own.start].sum()), int(mask_N[: own.stop].sum()))

    x_ND, y_ND = F.normalize(x_ND, dim=-1), F.normalize(y_ND, dim=-1)
    scale = 1 / temperature
    x_nD, y_nD = x_ND[own], y_ND[own]
    keep = None if excluded_N is None else _not_excluded(excluded_N, shared_N, own)
    log_weight_N = None
    if shared_N is not None and shared == "once":
        log_weight_N, shared_n = -copies(shared_N).to(x_ND.dtype).log(), shared_N[own]
        owners_n, _ = pairwise_logsumexp(
            y_nD, x_ND, scale, keep=lambda part: shared_n[part, None] == shared_N, chunk=chunk
        )
        paired_n = (scale * (x_nD * y_nD).sum(1) + owners_n + log_weight_N[own]) / 2
    else:
        positive_x_ND, positive_y_ND = (
            z_ND if shared_N is None else _mean_of_equal(z_ND, shared_N) for z_ND in (x_ND, y_ND)
        )
        paired_n = scale * ((x_nD * positive_y_ND[own]).sum(1) + (y_nD * positive_x_ND[own]).sum(1)) / 2

    if len(x_nD) == len(x_ND):  # the pairs that take part are symmetric, so one product serves both directions
        all_y_n, all_x_n = pairwise_logsumexp(x_ND, y_ND, scale, log_weight_M=log_weight_N, keep=keep, chunk=chunk)
    else:
        all_y_n, _ = pairwise_logsumexp(x_nD, y_ND, scale, log_weight_M=log_weight_N, keep=keep, chunk=chunk)
        all_x_n, _ = pairwise_logsumexp(y_nD, x_ND, scale, keep=keep, chunk=chunk)
    return ((all_y_n + all_x_n) / 2 - paired_n).sum() * ranks / len(x_ND)


def _mean_of_equal(x_ND: Tensor, id_N: Tensor) -> Tensor:
    """Each row's mean over the rows of its id."""
    _, group_N, counts_G = id_N.unique(return_inverse=True, return_counts=True)
    sum_GD = x_ND.new_zeros(len(counts_G), x_ND.shape[1]).index_add(0, group_N, x_ND)
    return (sum_GD / counts_G[:, None])[group_N]


def _not_excluded(excluded_N: Tensor, shared_N: Tensor | None, own: slice) -> Keep:
    """Which pairs of own rows with all rows take part: those of other values, and the positives."""
    positive_N = torch.arange(len(excluded_N), device=excluded_N.device) if shared_N is None else shared_N
    excluded_n, positive_n = excluded_N[own], positive_N[own]
    return lambda part: (excluded_n[part, None] != excluded_N) | (positive_n[part, None] == positive_N)


def _per_row(name: str, of_row: Tensor | None, x_ND: Tensor) -> None:
    if of_row is not None and of_row.shape != x_ND.shape[:1]:
        raise ValueError(f"{name} must have one value for each of the {len(x_ND)} rows, not {tuple(of_row.shape)}.")
