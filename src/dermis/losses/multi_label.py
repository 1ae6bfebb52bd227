"""Several classifications of one case at once: the mean of their cross-entropies."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

UNKNOWN = -1


def multi_label(logits: Sequence[Tensor], label_BL: Tensor, *, counts_L: Tensor | None = None) -> Tensor:
    """Mean over labels of the mean over cases of -log softmax(logits_BC)[label].

    ``logits``: (B, C) for each of the L labels (SM3, Wang et al. 2023, eq. 6, which is the sum over labels). A label of
    -1 is not known and left out; one that no case of the batch knows contributes 0. ``counts_L``: known cases of each
    label to divide by, if not those of this batch: with several ranks their mean over ranks, so that the ranks' mean is
    the loss of the whole. Raises ValueError if there are not as many columns of labels as rows of logits.
    """
    if label_BL.ndim != 2 or label_BL.shape[1] != len(logits):
        raise ValueError(
            f"labels must be (cases, {len(logits)}), a column for each label, not {tuple(label_BL.shape)}."
        )
    if counts_L is None:
        counts_L = (label_BL != UNKNOWN).sum(0)
    totals = [
        F.cross_entropy(logits_BC, label_B, ignore_index=UNKNOWN, reduction="sum")
        for logits_BC, label_B in zip(logits, label_BL.unbind(1), strict=True)
    ]
    # not clamped at 1: the mean over ranks lies below it where fewer cases are known than there are ranks
    return (torch.stack(totals) / torch.where(counts_L > 0, counts_L, 1)).mean()
