"""MAKE's loss as its release computes it, mistakes included, to compare numbers with it; the paper's: ``multi_aspect``.

Release: SiyuanYan1/MAKE at ded1959, src/open_clip/model.py:323-334 and src/open_clip/loss.py:65-229 (``local_loss``,
one GPU). Text rows lie sample by sample (row b·N + n); three places read them as if they lay caption by caption
(n·B + b), marked below. B cases, N = 3 + K texts a case (raw, disease, concept, sentences), P patches, D width,
R = B·N rows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def multi_aspect_released(
    image_BD: Tensor,
    text_BND: Tensor,
    patch_BPD: Tensor,
    mask_BN: Tensor,
    scale: Tensor | float,
    *,
    lambda_m: float = 1.0,
    lambda_s: float = 0.7,
    weights: bool = True,
    sigma: float = 0.0,
) -> dict[str, Tensor]:
    """Nothing is normalised inside. Texts that ``mask_BN`` calls missing are no positives, but stay negatives.

    i2t   pictures against all B·N texts, weighted mean           t2i   texts against pictures, mean, never weighted
    slra  as i2t with e_k instead of pictures, rows from B on     mkcl  λ_m (i2t + t2i) / 2

    ``sigma``: patches less similar than this do not count; the released scripts end at 0. Only the (B, B·N) logits are
    made; the release expands them to (B·N, B·N), with the same value. A term without a valid text is 0 (release: NaN).

    Returns ``i2t``, ``t2i``, ``mkcl`` (times ``lambda_m``), ``slra`` (times ``lambda_s``) and ``loss``. Raises
    ValueError for fewer than three texts a case, or fewer than four with ``weights``.
    """
    cases, texts, _ = text_BND.shape
    if texts < 3 or (weights and texts == 3):
        needed = "three texts a case and, with weights, a sentence" if weights else "three texts a case"
        raise ValueError(f"the release needs {needed} (raw, disease, concept, sentences); there are {texts}.")
    text_RD = text_BND.flatten(0, 1)
    valid_R = mask_BN.flatten().bool()
    row_R = torch.arange(cases * texts, device=text_RD.device)
    owner_R = row_R // texts
    weight_R = _weights(text_RD, mask_BN) if weights else torch.ones_like(text_RD[:, 0])

    logit_BR = scale * image_BD @ text_RD.T
    to_text_R = (logit_BR.logsumexp(1, keepdim=True) - logit_BR)[owner_R, row_R]
    to_image_R = logit_BR.logsumexp(0) - logit_BR[owner_R, row_R]
    pooled_BR = scale * _pooled(patch_BPD, text_RD[:cases], sigma) @ text_RD.T
    to_patches_R = (pooled_BR.logsumexp(1, keepdim=True) - pooled_BR)[owner_R, row_R]

    i2t = _mean(to_text_R, weight_R, valid_R)
    t2i = _mean(to_image_R, torch.ones_like(weight_R), valid_R)
    # meant: without the raw texts; left out are the rows below B, all the texts of the first cases
    slra = lambda_s * _mean(to_patches_R, weight_R, valid_R & (row_R >= cases))
    mkcl = lambda_m * (i2t + t2i) / 2
    return {"i2t": i2t, "t2i": t2i, "mkcl": mkcl, "slra": slra, "loss": mkcl + slra}


def _pooled(patch_BPD: Tensor, row_BD: Tensor, sigma: float) -> Tensor:
    """e_k (B, D), of any length: patches by their gated similarity with text row b (meant: the case's own text)."""
    similarity_BP = torch.einsum("bpd,bd->bp", patch_BPD, row_BD)
    gated_BP = (similarity_BP >= sigma) * similarity_BP
    return torch.einsum("bp,bpd->bd", F.normalize(gated_BP, dim=-1), patch_BPD)


@torch.no_grad()
def _weights(text_RD: Tensor, mask_BN: Tensor) -> Tensor:
    """(R,): 1 for raw, disease and concept; for sentences the softmax of (the wrong rows') cosines over its largest."""
    cases, texts = mask_BN.shape
    chunk_NBD = text_RD.reshape(texts, cases, -1)  # meant: transposed
    cosine_BK = torch.einsum("bd,kbd->bk", chunk_NBD[1], chunk_NBD[3:])
    cosine_BK = cosine_BK.masked_fill(~mask_BN[:, 3:].bool(), -torch.inf)
    weight_BK = (cosine_BK - cosine_BK.amax(1, keepdim=True)).exp()
    # no sentence: NaN, on rows that count nowhere; no disease text: nothing to weigh by
    weight_BK = weight_BK.nan_to_num(nan=1.0).masked_fill(~mask_BN[:, 1:2].bool(), 1.0)
    return torch.cat([weight_BK.new_ones(cases, 3), weight_BK], dim=1).flatten()


def _mean(loss_R: Tensor, weight_R: Tensor, among_R: Tensor) -> Tensor:
    weight_R = weight_R * among_R
    return (weight_R * loss_R).sum() / weight_R.sum().clamp_min(torch.finfo(weight_R.dtype).tiny)
