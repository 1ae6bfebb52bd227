"""Global and local contrast between pictures and reports: GLoRIA (Huang et al., ICCV 2021), as its release computes it.

Release: marshuang80/gloria at 416466a, gloria/loss/gloria_loss.py:19-137. B pictures and their B captions; R = H x W
regions of a picture, L words of the longest caption, width D. float32 and float64.

With several ranks the caller passes the gathered rows of all ranks and says which are its own: ``rows`` of them from
``first`` on (None: all). Each of the two terms is then the mean over the own rows, and its mean over ranks that of the
whole batch.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dermis.losses.contrastive import clip, own_rows
from dermis.losses.logsumexp import rows_at_a_time, slices
from dermis.registry import unknown

AGGREGATES = ("sum", "mean")


def gloria_global(
    image_BD: Tensor,
    text_BD: Tensor,
    temperature: float,
    *,
    chunk: int | None = None,
    first: int = 0,
    rows: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each picture among the texts, and of each text among the pictures; normalises its inputs.

        mean_i -log( e^{u_i·v_i/τ} / Σ_j e^{u_i·v_j/τ} ),    mean_i -log( e^{u_i·v_i/τ} / Σ_j e^{u_j·v_i/τ} )

    The release multiplies by 10: ``temperature`` τ is 0.1. ``chunk`` and ValueErrors are those of ``clip``.
    """
    image_BD, text_BD = F.normalize(image_BD, dim=-1), F.normalize(text_BD, dim=-1)
    to_text, to_image = (
        clip(image_BD, text_BD, 1 / temperature, weight=weight, chunk=chunk, first=first, rows=rows)
        for weight in (1.0, 0.0)
    )
    return to_text, to_image


def gloria_local(
    regions_BDHW: Tensor,
    words_BDL: Tensor,
    lengths_B: Tensor,
    *,
    temperatures: tuple[float, float, float] = (4.0, 5.0, 10.0),
    aggregate: str = "sum",
    chunk: int | None = None,
    first: int = 0,
    rows: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The same two cross-entropies, of scores in which each word looks for its regions; γ are the ``temperatures``.

        α_lr = softmax_r( γ1 softmax_l( t_l·v_r ) )            attention: over the words first, then over the regions
        c_l = Σ_r α_lr v_r                                     what word l sees
        s(picture, caption) = γ3 log Σ_l exp( γ2 cos(c_l, t_l) )            "mean": mean over the words for the sum

    Neither regions v nor words t are normalised. The first ``lengths_B`` of the L words are a caption's, whatever
    stands behind them. γ multiply, as in the release.

    ``chunk``: captions scored at a time. Memory falls from B·B·L·R to B·chunk·L·R floats and the value does not change,
    for one more forward pass. Raises ValueError for shapes that do not fit, a caption without words, an unknown
    aggregate, rows outside the batch, or a chunk below 1.
    """
    if aggregate not in AGGREGATES:
        raise unknown("aggregate of gloria_local", aggregate, AGGREGATES)
    _check(regions_BDHW, words_BDL, lengths_B)
    cases = len(words_BDL)
    own, everyone = own_rows(cases, first, rows), slice(0, cases)
    region_BRD, word_BLD = regions_BDHW.flatten(2).transpose(1, 2), words_BDL.transpose(1, 2)
    # no context vector c is made: c·t and c·c follow from the similarities t·v and v·v, which are narrower for R < D
    gram_BRR = region_BRD @ region_BRD.transpose(1, 2)

    def scores(pictures: slice, captions: slice) -> Tensor:
        region_bRD, gram_bRR = region_BRD[pictures], gram_BRR[pictures]
        word_cLD, lengths_c = word_BLD[captions], lengths_B[captions]
        if chunk is None:
            return _scores(region_bRD, gram_bRR, word_cLD, lengths_c, temperatures, aggregate)
        again = partial(checkpoint, _scores, use_reentrant=False, preserve_rng_state=False)
        found = [
            again(region_bRD, gram_bRR, word_cLD[part], lengths_c[part], temperatures, aggregate)
            for part in slices(len(word_cLD), rows_at_a_time(chunk))
        ]
        return torch.cat(found, dim=1)

    score_bB = scores(own, everyone)
    score_Bb = score_bB if own == everyone else scores(everyone, own)
    pair_b = torch.arange(own.start, own.stop, device=score_bB.device)
    return F.cross_entropy(score_bB, pair_b), F.cross_entropy(score_Bb.T, pair_b)


def attention(regions_DHW: Tensor, words_DL: Tensor, temperature: float = 4.0) -> Tensor:
    """α of ``gloria_local`` for one picture and the words of one caption: (L, H, W), each word's map sums to 1."""
    dim, height, width = regions_DHW.shape
    similarity_11LR = (words_DL.T @ regions_DHW.reshape(dim, -1))[None, None]
    every_1L = torch.ones(1, words_DL.shape[1], dtype=torch.bool, device=words_DL.device)
    return _attention(similarity_11LR, every_1L, temperature).reshape(-1, height, width)


def _scores(
    region_bRD: Tensor,
    gram_bRR: Tensor,
    word_cLD: Tensor,
    lengths_c: Tensor,
    temperatures: tuple[float, float, float],
    aggregate: str,
) -> Tensor:
    """s of b pictures and c captions, (b, c)."""
    over_regions, over_words, over_cases = temperatures
    is_word_cL = torch.arange(word_cLD.shape[1], device=lengths_c.device) < lengths_c[:, None]
    word_cLD = word_cLD.masked_fill(~is_word_cL[..., None], 0)
    similarity_bcLR = torch.einsum("cld,brd->bclr", word_cLD, region_bRD)
    alpha_bcLR = _attention(similarity_bcLR, is_word_cL, over_regions)
    paired_bcL = (alpha_bcLR * similarity_bcLR).sum(3)
    square_bcL = (torch.einsum("bclr,brs->bcls", alpha_bcLR, gram_bRR) * alpha_bcLR).sum(3)
    length_bcL = square_bcL.clamp_min(torch.finfo(square_bcL.dtype).tiny).sqrt() * word_cLD.norm(dim=2)
    cosine_bcL = paired_bcL / length_bcL.clamp_min(1e-8)
    score_bc = (over_words * cosine_bcL).masked_fill(~is_word_cL, -torch.inf).logsumexp(2)
    if aggregate == "mean":
        score_bc = score_bc - lengths_c.to(score_bc.dtype).log()
    return over_cases * score_bc


def _attention(similarity_bcLR: Tensor, is_word_cL: Tensor, temperature: float) -> Tensor:
    over_words_bcLR = similarity_bcLR.masked_fill(~is_word_cL[..., None], -torch.inf).softmax(2)
    return (temperature * over_words_bcLR).softmax(3)


def _check(regions_BDHW: Tensor, words_BDL: Tensor, lengths_B: Tensor) -> None:
    if regions_BDHW.ndim != 4 or words_BDL.ndim != 3 or regions_BDHW.shape[:2] != words_BDL.shape[:2]:
        raise ValueError(
            "regions must be (B, D, H, W) and words (B, D, L) of the same B and D, not "
            f"{tuple(regions_BDHW.shape)} and {tuple(words_BDL.shape)}."
        )
    if lengths_B.shape != words_BDL.shape[:1]:
        raise ValueError(f"{len(words_BDL)} captions need as many lengths, not {tuple(lengths_B.shape)}.")
    if not bool(((lengths_B >= 1) & (lengths_B <= words_BDL.shape[2])).all()):
        raise ValueError(f"a caption has 1 to {words_BDL.shape[2]} words here; lengths are {lengths_B.tolist()}.")
