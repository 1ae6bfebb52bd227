"""MAKE's loss: one picture, many texts; sentences find their patches; sentences near the diagnosis count more.

MAKE: Multi-Aspect Knowledge-Enhanced Vision-Language Pretraining (Yan et al., MICCAI 2025), equations 3 to 8.

B cases, T (case, text) occurrences of S distinct strings, P patches, D width, E (string, owner) pairs. Texts are
ragged: a missing text does not appear. Nothing of size T x T or B x P x T is made; with ``chunk`` nothing of size B x S
is kept either.
"""

from collections.abc import Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dermis.losses.logsumexp import pairwise_logsumexp, segment_logsumexp
from dermis.registry import unknown

RAW, DISEASE, CONCEPT, SENTENCE = range(4)
TERMS = ("i2t", "t2i", "slra")


def multi_aspect(
    image_BD: Tensor,
    text_TD: Tensor,
    patch_BPD: Tensor,
    owner_T: Tensor,
    kind_T: Tensor,
    scale: Tensor | float,
    *,
    distinct_T: Tensor | None = None,
    lambda_s: float = 0.7,
    i2t: str = "texts",
    siblings: str = "excluded",
    weights: str = "ratio",
    weigh: Collection[str] = TERMS,
    reduction: str = "mean",
    chunk: int | None = None,
) -> dict[str, Tensor]:
    """Equation 8 on ragged texts, from the patches: ``multi_aspect_pooled`` with e_k of ``patches_of_raw_text``.

    ``patch_BPD`` is taken as given (eq. 5), everything else as ``multi_aspect_pooled`` has it. Raises ValueError as
    that does, and if a case has two raw texts.
    """
    pooled_BD, has_raw_B = patches_of_raw_text(patch_BPD, text_TD, owner_T, kind_T)
    return multi_aspect_pooled(
        image_BD,
        text_TD,
        pooled_BD,
        has_raw_B,
        owner_T,
        kind_T,
        scale,
        distinct_T=distinct_T,
        lambda_s=lambda_s,
        i2t=i2t,
        siblings=siblings,
        weights=weights,
        weigh=weigh,
        reduction=reduction,
        chunk=chunk,
    )


def patches_of_raw_text(patch_BPD: Tensor, text_TD: Tensor, owner_T: Tensor, kind_T: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 5 of unit length, e_k (B, D), and which cases have the raw text it takes (B,); zeros for the others.

        z_p = v_p · e_r,    e_k = Σ_p v_p z_p / Σ_p z_p

    Patches v as the tower projects them. Since e_k is used through its cosine only, the positive part of the divisor
    cancels; its sign does not, and is kept. Raises ValueError if a case has two raw texts.
    """
    raw_BD, has_raw_B = _text_of_case(text_TD, owner_T, kind_T == RAW, len(patch_BPD), "raw text")
    z_BP = torch.einsum("bpd,bd->bp", patch_BPD, raw_BD)
    sum_BD = torch.einsum("bp,bpd->bd", z_BP, patch_BPD)
    sign_B1 = torch.where(z_BP.sum(1, keepdim=True) < 0, -1, 1)
    return F.normalize(sum_BD, dim=-1) * sign_B1, has_raw_B


def diagnosis_weights(text_TD: Tensor, owner_T: Tensor, kind_T: Tensor, cases: int, form: str = "ratio") -> Tensor:
    """Equation 7, (T,), without gradient: how close each sentence is to its case's disease text, c_j = e_d · e_sj.

    ``"ratio"``: c_j / max_j c, clamped to [0, 1] (as printed it is signed and unbounded; if no sentence of a case has a
    positive cosine, all weigh 1). ``"exp"``: exp(c_j - max_j c), as released. 1 for other kinds, for cases without
    disease text, and for ``"none"``. Raises ValueError for another form or a case with two disease texts.
    """
    if form not in ("ratio", "exp", "none"):
        raise unknown("form of weights", form, ("ratio", "exp", "none"))
    weight_T = torch.ones(len(text_TD), dtype=text_TD.dtype, device=text_TD.device)
    if form == "none":
        return weight_T
    with torch.no_grad():
        disease_BD, has_disease_B = _text_of_case(text_TD, owner_T, kind_T == DISEASE, cases, "disease text")
        row_J = ((kind_T == SENTENCE) & has_disease_B[owner_T]).nonzero().squeeze(1)
        owner_J = owner_T[row_J]
        cosine_J = (text_TD[row_J] * disease_BD[owner_J]).sum(1)
        top_B = cosine_J.new_full((cases,), -torch.inf).scatter_reduce(0, owner_J, cosine_J, "amax")
        top_J = top_B[owner_J]
        if form == "exp":
            weight_J = (cosine_J - top_J).exp()
        else:
            weight_J = torch.where(top_J == 0, 1, cosine_J / top_J).clamp(0, 1)
        return weight_T.index_copy(0, row_J, weight_J)


def multi_aspect_pooled(
    image_BD: Tensor,
    text_TD: Tensor,
    pooled_BD: Tensor | None,
    has_raw_B: Tensor | None,
    owner_T: Tensor,
    kind_T: Tensor,
    scale: Tensor | float,
    *,
    distinct_T: Tensor | None = None,
    lambda_s: float = 0.7,
    i2t: str = "texts",
    siblings: str = "excluded",
    weights: str = "ratio",
    weigh: Collection[str] = TERMS,
    reduction: str = "mean",
    chunk: int | None = None,
    first: int = 0,
    rows: int | None = None,
) -> dict[str, Tensor]:
    """Equation 8, L = L_mkcl + λ L_slra with L_mkcl = (L_i2t + L_t2i) / 2, for unit-length pictures I and texts.

    ``owner_T``: the case of each occurrence; ``kind_T``: 0 raw, 1 disease, 2 concept, 3 sentence. ``distinct_T``: equal
    id = same string (its rows must be equal; the first is read); then a text is a positive of every case that owns an
    occurrence of it. ``scale`` s is already exponentiated. Per occurrence t, of case b, text u_t:

      t2i   -log mean_{o owns t} e^{s I_o·u_t} / Σ_n e^{s I_n·u_t}                                        (eq. 4)
      i2t   -log e^{s I_b·u_t} / Σ_{t'} e^{s I_b·u_t'}      t' over all T occurrences, which leaves open what the
            case's other positives are (``siblings``): ``"excluded"`` from the sum, together with other cases' copies of
            the case's strings; kept as ``"negatives"`` (released), copies too; or, in the same sum, ``"soft"``: the
            target is uniform over the case's texts, so that each of its texts counts the case's mean -log probability.
            A text of several owners is here the positive of its own case only: the others have terms of their own.
            ``i2t="images"`` is eq. 3 as printed, which normalises over images and has the terms of t2i.
      slra  as t2i, sentences against e_k (``pooled_BD``) of the cases that have a raw text                 (eq. 6)
            None: this term is not wanted, and neither made nor returned.

    Each term is Σ_t w_t ℓ_t / Σ_t w_t with ``diagnosis_weights`` where ``weigh`` names it and w = 1 elsewhere;
    ``reduction="sum"`` is the paper's Σ_t w_t ℓ_t. ``chunk``: cases (for ranks and slra also texts) at a time.

    With several ranks all rows are gathered ones; ``rows`` of the cases, from ``first``, are this rank's. The result is
    the share of their occurrences: its mean over ranks is the loss of the whole batch.

    Returns ``i2t``, ``t2i``, ``mkcl``, ``slra`` (not times λ) and ``loss``. Raises ValueError for unknown options and
    ``siblings`` with ``i2t="images"``, where there are none.
    """
    _check(i2t, siblings, weigh, reduction)
    cases = len(image_BD)
    rows = cases - first if rows is None else rows
    texts = _texts(text_TD, owner_T, distinct_T, cases)
    is_own_T = (owner_T >= first) & (owner_T < first + rows)
    weight_T = diagnosis_weights(text_TD, owner_T, kind_T, cases, weights)

    def reduced(loss_T: Tensor, among_T: Tensor, term: str) -> Tensor:
        """This rank's share of the (weighted) mean over ``among_T``."""
        used_T = weight_T if term in weigh else torch.ones_like(weight_T)
        total = (used_T * loss_T)[among_T & is_own_T].sum() * (cases / rows)
        return total if reduction == "sum" else total / used_T[among_T].sum().clamp_min(1e-12)

    excluded = siblings == "excluded" and i2t == "texts"
    own = slice(first, first + rows)
    if rows == cases:
        row_b, column_S = _sums_over_texts_and_images(image_BD, texts, scale, excluded, chunk)
    else:
        row_b, _ = _sums_over_texts_and_images(image_BD, texts, scale, excluded, chunk, own)
        column_S = _sums_over_images(texts, image_BD, scale, texts.string_T[is_own_T].unique(), chunk)

    logit_E = scale * (texts.row_SD[texts.string_E] * image_BD[texts.owner_E]).sum(1)
    owners_S = segment_logsumexp(logit_E, texts.string_E, len(texts.row_SD))
    if excluded and rows == cases:  # what was left out of a case's sum over texts was left out of the sums over images
        column_S = torch.logaddexp(column_S, owners_S)
    owners_S = owners_S - texts.string_E.bincount(minlength=len(owners_S)).to(owners_S.dtype).log()
    t2i_T = (column_S - owners_S)[texts.string_T]
    if i2t == "images":
        i2t_T = t2i_T
    else:
        all_T, own_T = row_b[(owner_T - first).clamp(0, rows - 1)], logit_E[texts.pair_T]
        if siblings == "soft":
            own_T = _mean_logit(own_T, owner_T, cases)[owner_T]
        i2t_T = (torch.logaddexp(all_T, own_T) if excluded else all_T) - own_T

    everything_T = torch.ones_like(is_own_T)
    found = {"i2t": reduced(i2t_T, everything_T, "i2t"), "t2i": reduced(t2i_T, everything_T, "t2i")}
    found["mkcl"] = (found["i2t"] + found["t2i"]) / 2
    if pooled_BD is None or has_raw_B is None:
        return found | {"loss": found["mkcl"]}
    among_T = (kind_T == SENTENCE) & has_raw_B[owner_T]
    slra_T = _slra(texts, pooled_BD, has_raw_B, scale, texts.string_T[among_T & is_own_T].unique(), chunk)
    found["slra"] = reduced(slra_T, among_T, "slra")
    return found | {"loss": found["mkcl"] + lambda_s * found["slra"]}


class _Texts(NamedTuple):
    """The S distinct strings of T occurrences, and the E pairs of a string and a case that owns it."""

    row_SD: Tensor  # noqa: N815 (shapes are in the names)
    copies_S: Tensor  # noqa: N815
    string_T: Tensor  # noqa: N815
    string_E: Tensor  # noqa: N815
    owner_E: Tensor  # noqa: N815
    pair_T: Tensor  # noqa: N815


def _texts(text_TD: Tensor, owner_T: Tensor, distinct_T: Tensor | None, cases: int) -> _Texts:
    place_T = torch.arange(len(text_TD), device=text_TD.device)
    if distinct_T is None:
        return _Texts(text_TD, torch.ones_like(place_T), place_T, place_T, owner_T, place_T)
    _, string_T, copies_S = distinct_T.unique(return_inverse=True, return_counts=True)
    first_S = place_T.new_full((len(copies_S),), len(place_T)).scatter_reduce(0, string_T, place_T, "amin")
    pair_E, pair_T = (string_T * cases + owner_T).unique(return_inverse=True)
    return _Texts(text_TD[first_S], copies_S, string_T, pair_E // cases, pair_E % cases, pair_T)


def _sums_over_texts_and_images(
    image_BD: Tensor, texts: _Texts, scale: Tensor | float, excluded: bool, chunk: int | None, own: slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """log Σ over all T occurrences for each own picture, and log Σ over those pictures for each string.

    ``excluded``: without the pairs of a picture and its own strings.
    """
    image_bD = image_BD[own]
    first = own.start or 0

    def keep(part: slice) -> Tensor:
        wanted = range(len(image_bD))[part]
        inside_E = (texts.owner_E >= first + wanted.start) & (texts.owner_E < first + wanted.stop)
        strange_bS = torch.ones(len(wanted), len(texts.row_SD), dtype=torch.bool, device=image_bD.device)
        strange_bS[texts.owner_E[inside_E] - first - wanted.start, texts.string_E[inside_E]] = False
        return strange_bS

    log_copies_S = texts.copies_S.to(image_bD.dtype).log()
    return pairwise_logsumexp(
        image_bD, texts.row_SD, scale, log_weight_M=log_copies_S, keep=keep if excluded else None, chunk=chunk
    )


def _sums_over_images(
    texts: _Texts, image_BD: Tensor, scale: Tensor | float, wanted: Tensor, chunk: int | None
) -> Tensor:
    """log Σ over all pictures for the ``wanted`` strings, 0 for the others, (S,)."""
    sums, _ = pairwise_logsumexp(texts.row_SD[wanted], image_BD, scale, chunk=chunk)
    return sums.new_zeros(len(texts.row_SD)).index_copy(0, wanted, sums)


def _mean_logit(logit_T: Tensor, owner_T: Tensor, cases: int) -> Tensor:
    """Mean logit of each picture with its own texts, (B,); 0 for a picture without texts."""
    texts_B = owner_T.bincount(minlength=cases).clamp_min(1)
    return logit_T.new_zeros(cases).index_add(0, owner_T, logit_T) / texts_B


def _slra(
    texts: _Texts, pooled_BD: Tensor, has_raw_B: Tensor, scale: Tensor | float, wanted: Tensor, chunk: int | None
) -> Tensor:
    """Equation 6 for occurrences of the ``wanted`` strings, among the cases that have a raw text; 0 elsewhere, (T,)."""
    place_B = has_raw_B.cumsum(0) - 1
    pooled_RD = pooled_BD[has_raw_B]
    takes_part_E = has_raw_B[texts.owner_E]
    string_E, owner_E = texts.string_E[takes_part_E], place_B[texts.owner_E[takes_part_E]]
    logit_E = scale * (texts.row_SD[string_E] * pooled_RD[owner_E]).sum(1)
    owners_S = segment_logsumexp(logit_E, string_E, len(texts.row_SD))
    count_S = string_E.bincount(minlength=len(owners_S)).to(owners_S.dtype)
    all_S = _sums_over_images(texts, pooled_RD, scale, wanted, chunk)
    loss_s = all_S[wanted] - owners_S[wanted] + count_S[wanted].log()
    return loss_s.new_zeros(len(texts.row_SD)).index_copy(0, wanted, loss_s)[texts.string_T]


def _text_of_case(text_TD: Tensor, owner_T: Tensor, is_kind_T: Tensor, cases: int, what: str) -> tuple[Tensor, Tensor]:
    """Each case's one text of a kind, (B, D), zeros where it has none, and whether it has one, (B,)."""
    owner = owner_T[is_kind_T]
    count_B = owner.bincount(minlength=cases)
    if (count_B > 1).any():
        case = int((count_B > 1).nonzero()[0])
        raise ValueError(f"a case has one {what} at most; case {case} of the batch has {int(count_B[case])}.")
    return text_TD.new_zeros(cases, text_TD.shape[1]).index_copy(0, owner, text_TD[is_kind_T]), count_B > 0


def _check(i2t: str, siblings: str, weigh: Collection[str], reduction: str) -> None:
    if i2t not in ("texts", "images"):
        raise unknown("form of i2t", i2t, ("texts", "images"))
    if siblings not in ("excluded", "negatives", "soft"):
        raise unknown("treatment of siblings", siblings, ("excluded", "negatives", "soft"))
    if i2t == "images" and siblings != "excluded":
        raise ValueError(f"siblings={siblings!r} has no effect with i2t='images': leave it out.")
    for term in [weigh] if isinstance(weigh, str) else weigh:
        if term not in TERMS:
            raise unknown("term to weigh", term, TERMS)
    if reduction not in ("mean", "sum"):
        raise unknown("reduction", reduction, ("mean", "sum"))
