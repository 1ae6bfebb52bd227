"""Pictures against disease names, where a related disease is less wrong than an unrelated one.

After O-MAKE's ontology-based loss (arXiv 2512.03445), of which these facts are known: soft labels from the distance
of the diseases in an ontology, a softmax at temperature 0.07, a mixing weight β of 0.5 annealed by a cosine to 0. Ours,
for want of more: the similarity (any (K, K) matrix in [0, 1]; ``language.ontology`` has Wu and Palmer's), that the
softmax is over similarities, that β mixes targets linearly, and the direction from texts to pictures.

B pictures, K distinct disease texts, D width.
"""

import math

import torch
from torch import Tensor


def ontology_contrast(
    image_BD: Tensor,
    text_KD: Tensor,
    label_B: Tensor,
    similarity_KK: Tensor,
    scale: Tensor | float,
    *,
    beta: float,
    temperature: float = 0.07,
) -> Tensor:
    """Contrast of unit-length pictures u and texts v with targets between the one-hot and the ontology's; zero-dim.

        i2t   mean_b  -Σ_k q_bk log p(k | b),    p(k | b) = e^{s u_b·v_k} / Σ_j e^{s u_b·v_j}
                      q_bk = (1 - β) [k = y_b] + β softmax_k( S[y_b, k] / T )
        t2i   mean_b  -(1 - β) log mean_{o: y_o = y_b} p(o | y_b)  -  β Σ_n r_n log p(n | y_b)
                      p(n | k) = e^{s u_n·v_k} / Σ_m e^{s u_m·v_k},    r_n = softmax_n( S[y_b, y_n] / T )

    and their mean. ``label_B`` is y in 0 … K-1, or -1 for a picture without a disease, which takes no part, not even as
    a negative; the loss is 0 if all are. A text that no picture has is a negative, and for β > 0 a soft target, of
    pictures; it asks for none. ``scale`` s is already exponentiated, ``similarity_KK`` S has no gradient.

    β = 0 is ``contrastive.clip`` with ``same_text_B=label_B`` where every text has a picture: the disease's part of
    MAKE's contrast without other texts. Raises ValueError for shapes that do not fit, labels outside, β outside
    [0, 1] and a temperature that is not positive.
    """
    _check(image_BD, text_KD, label_B, similarity_KK, beta, temperature)
    has_B = label_B >= 0
    if not has_B.any():
        return (image_BD.sum() + text_KD.sum()) * 0.0
    image_bD, label_b = image_BD[has_B], label_B[has_B]
    logits_bK = (scale * image_bD) @ text_KD.T
    target_bK = ontology_soft_targets(similarity_KK.to(logits_bK), label_b, beta=beta, temperature=temperature)
    i2t = -(target_bK * logits_bK.log_softmax(1)).sum(1).mean()

    log_picture_Kb = logits_bK.log_softmax(0).T
    owns_Kb = label_b == torch.arange(len(text_KD), device=label_b.device)[:, None]
    counts_K = owns_Kb.sum(1)
    asked_k = counts_K.nonzero().squeeze(1)  # texts without a picture would make logsumexp of nothing
    log_owners_k = log_picture_Kb[asked_k].masked_fill(~owns_Kb[asked_k], -torch.inf).logsumexp(1)
    loss_k = -(1 - beta) * (log_owners_k - counts_K[asked_k].to(log_owners_k).log())
    if beta:
        soft_kb = (similarity_KK.to(logits_bK)[asked_k][:, label_b] / temperature).softmax(1)
        loss_k = loss_k - beta * (soft_kb * log_picture_Kb[asked_k]).sum(1)
    t2i = (loss_k * counts_K[asked_k]).sum() / len(label_b)
    return (i2t + t2i) / 2


def ontology_soft_targets(similarity_KK: Tensor, label_B: Tensor, *, beta: float, temperature: float = 0.07) -> Tensor:
    """(B, K), rows sum to 1: (1 - β) of the label itself and β of softmax(similarity to it / T)."""
    hard_BK = torch.nn.functional.one_hot(label_B, len(similarity_KK)).to(similarity_KK.dtype)
    return (1 - beta) * hard_BK + beta * (similarity_KK[label_B] / temperature).softmax(1)


def annealed(beta: float, step: int, steps: int) -> float:
    """β at ``step`` of ``steps``: from ``beta`` by half a cosine to 0, and 0 after; raises ValueError for no steps."""
    if steps < 1:
        raise ValueError(f"annealing needs at least 1 step, not {steps}.")
    return beta * 0.5 * (1 + math.cos(math.pi * min(max(step, 0), steps) / steps))


def _check(
    image_BD: Tensor, text_KD: Tensor, label_B: Tensor, similarity_KK: Tensor, beta: float, temperature: float
) -> None:
    if image_BD.ndim != 2 or text_KD.ndim != 2 or image_BD.shape[1] != text_KD.shape[1]:
        raise ValueError(f"pictures and texts must be (B, D), (K, D); got {[*image_BD.shape]}, {[*text_KD.shape]}.")
    diseases = len(text_KD)
    if label_B.shape != image_BD.shape[:1] or similarity_KK.shape != (diseases, diseases):
        raise ValueError(
            f"labels must be ({len(image_BD)},) and the similarity ({diseases}, {diseases}); "
            f"got {tuple(label_B.shape)} and {tuple(similarity_KK.shape)}."
        )
    if len(label_B) and (label_B.min() < -1 or label_B.max() >= diseases):
        raise ValueError(f"labels must lie in -1 … {diseases - 1}; got {int(label_B.min())} … {int(label_B.max())}.")
    if not 0 <= beta <= 1:
        raise ValueError(f"beta is a share of the target, 0 to 1, not {beta!r}.")
    if temperature <= 0:
        raise ValueError(f"the temperature must be positive, not {temperature!r}.")
