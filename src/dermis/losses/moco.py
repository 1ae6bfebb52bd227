"""MoCo's contrast: a query against its own key and a queue of older keys."""

import torch
import torch.nn.functional as F
from torch import Tensor


def moco(query_BD: Tensor, key_BD: Tensor, queue_DK: Tensor, temperature: float) -> Tensor:
    """InfoNCE of B queries q against their keys k and K older keys (MoCo, He et al. 2020, arXiv 1911.05722, eq. 1).

        mean_i  -log( e^{q_i·k_i/τ} / ( e^{q_i·k_i/τ} + Σ_n e^{q_i·n/τ} ) ),    n = the columns of the queue

    All three are normalised inside; a column of zeros, as in a queue not yet full, is a negative of cosine 0. Keys
    and queue come from the momentum encoder and get no gradient. The other keys of the batch are no negatives, so with
    several ranks each passes its own rows and the mean over ranks is the loss of the whole batch.

    Raises ValueError for shapes that do not belong together.
    """
    width = query_BD.shape[-1]
    if query_BD.ndim != 2 or query_BD.shape != key_BD.shape or queue_DK.ndim != 2 or len(queue_DK) != width:
        raise ValueError(
            "queries and keys must be (B, D) alike and the queue (D, K), "
            f"not {tuple(query_BD.shape)}, {tuple(key_BD.shape)} and {tuple(queue_DK.shape)}."
        )
    query_BD = F.normalize(query_BD, dim=-1) / temperature
    key_BD, queue_DK = F.normalize(key_BD.detach(), dim=-1), F.normalize(queue_DK.detach(), dim=0)
    paired_B = (query_BD * key_BD).sum(1)
    # joined as a sum, not as a column: the queue's logits are by far the largest tensor and need no copy
    all_B = torch.logaddexp((query_BD @ queue_DK).logsumexp(1), paired_B)
    return (all_B - paired_B).mean()
