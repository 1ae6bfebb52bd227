"""Teaching a decoder to say a text: the cross-entropy of the next token."""

import torch.nn.functional as F
from torch import Tensor

from dermis.registry import unknown

REDUCTIONS = ("token", "sequence_sum", "case_mean")


def missed(logits_BLV: Tensor, target_BL: Tensor, *, pad: int) -> Tensor:
    """-log p of each target token (B, L) under a softmax over the V logits; 0 where the target is ``pad``."""
    return F.cross_entropy(logits_BLV.flatten(0, 1), target_BL.flatten(), ignore_index=pad, reduction="none").view_as(
        target_BL
    )


def caption(logits_BLV: Tensor, target_BL: Tensor, *, pad: int, reduction: str = "token") -> Tensor:
    """-log p of the target tokens under a softmax over the V logits; targets are already shifted.

    Tokens equal to ``pad`` do not count. ``"token"``: mean over the others (CoCa, arXiv 2205.01917, eq. 3);
    ``"sequence_sum"``: sum over a case's tokens, mean over cases (M2CG, eq. 9); ``"case_mean"``: mean over a case's
    tokens, then over the cases that have any. No token at all gives 0. Raises ValueError for another reduction and for
    shapes that do not belong together.
    """
    if reduction not in REDUCTIONS:
        raise unknown("reduction of caption", reduction, REDUCTIONS)
    if logits_BLV.shape[:2] != target_BL.shape:
        raise ValueError(
            f"logits are (B, L, V) with (B, L), not {tuple(logits_BLV.shape)} with {tuple(target_BL.shape)}."
        )
    missed_BL = missed(logits_BLV, target_BL, pad=pad)
    tokens_B = (target_BL != pad).sum(1)
    if reduction == "token":
        return missed_BL.sum() / tokens_B.sum().clamp_min(1)
    if reduction == "sequence_sum":
        return missed_BL.sum() / max(len(target_BL), 1)
    return (missed_BL.sum(1) / tokens_B.clamp_min(1)).sum() / (tokens_B > 0).sum().clamp_min(1)
