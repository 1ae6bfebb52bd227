"""Losses that tell the pairs of a batch from the non-pairs: CLIP, SigLIP, NT-Xent.

B rows of width D; row i of one side belongs to row i of the other. Reductions are means over the anchors. float32 and
float64. ``chunk`` bounds memory to O(chunk · B) without changing the value; None is faster while B x B floats fit.

With several ranks the caller passes the gathered rows of all ranks and says which are its own: ``rows`` of them from
``first`` on (None: all). The result is the share of the own rows: its mean over ranks is the loss of the whole batch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dermis.losses.logsumexp import pairwise_logsumexp, rows_at_a_time, slices
from dermis.registry import unknown


def clip(
    image_BD: Tensor,
    text_BD: Tensor,
    scale: Tensor | float,
    *,
    weight: float = 0.5,
    chunk: int | None = None,
    first: int = 0,
    rows: int | None = None,
    same_text_B: Tensor | None = None,
) -> Tensor:
    """Symmetric InfoNCE between unit-length images u and texts v (CLIP, arXiv 2103.00020, Figure 3).

              w · mean_i -log( e^{s u_i·v_i} / Σ_j e^{s u_i·v_j} )
        + (1 - w) · mean_i -log( e^{s u_i·v_i} / Σ_j e^{s u_j·v_i} )

    ``weight`` w is on image→text (ConVIRT, arXiv 2010.00747, eq. 4: λ = 0.75); ``scale`` s is already exponentiated.

    ``same_text_B``: equal id = same string. None is the equation above, in which a caption that occurs twice is its own
    twin's negative. With ids a repeated string counts once among the texts, and text→image scores the mean probability
    over all images that own the string.

    Raises ValueError for different shapes, rows outside the batch, or a chunk below 1.
    """
    own = _own_rows(image_BD, text_BD, first, rows)
    image_bD, text_bD = image_BD[own], text_BD[own]
    paired_b = scale * (image_bD * text_bD).sum(1)
    if same_text_B is None:
        log_weight_B, owners_b = None, paired_b
    else:
        log_copies_B = copies(same_text_B).to(image_BD.dtype).log()
        log_weight_B, same_text_b = -log_copies_B, same_text_B[own]
        owners_b, _ = pairwise_logsumexp(
            text_bD, image_BD, scale, keep=lambda part: same_text_b[part, None] == same_text_B, chunk=chunk
        )
        owners_b = owners_b - log_copies_B[own]

    if len(image_bD) == len(image_BD):
        all_texts_b, all_images_b = pairwise_logsumexp(image_BD, text_BD, scale, log_weight_M=log_weight_B, chunk=chunk)
    else:
        all_texts_b, _ = pairwise_logsumexp(image_bD, text_BD, scale, log_weight_M=log_weight_B, chunk=chunk)
        all_images_b, _ = pairwise_logsumexp(text_bD, image_BD, scale, chunk=chunk)
    return weight * (all_texts_b - paired_b).mean() + (1 - weight) * (all_images_b - owners_b).mean()


def siglip(
    image_BD: Tensor,
    text_BD: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    *,
    chunk: int | None = None,
    first: int = 0,
    rows: int | None = None,
    same_text_B: Tensor | None = None,
) -> Tensor:
    """Each pair of unit-length image u and text v is its own yes/no question (SigLIP, arXiv 2303.15343, eq. 1).

        -1/B Σ_i Σ_j log σ( y_ij (s u_i·v_j + b) ),    y_ij = +1 if i = j, else -1

    ``same_text_B``: equal id = same string, and y_ij = +1 wherever text j is image i's string; None is the equation.
    Own rows are images, against all texts. Raises ValueError as ``clip`` does.
    """
    own = _own_rows(image_BD, text_BD, first, rows)
    string_B = torch.arange(len(text_BD), device=text_BD.device) if same_text_B is None else same_text_B

    image_bD, string_b = image_BD[own], string_B[own]
    if chunk is not None:
        scale, bias = (torch.as_tensor(x, dtype=image_BD.dtype, device=image_BD.device) for x in (scale, bias))
        total = _ChunkedSigmoid.apply(image_bD, text_BD, scale, bias, string_b, string_B, rows_at_a_time(chunk))
    else:
        logits_bB = (scale * image_bD) @ text_BD.T + bias
        total = -F.logsigmoid(torch.where(string_b[:, None] == string_B, logits_bB, -logits_bB)).sum()
    return total / len(image_bD)


class _ChunkedSigmoid(torch.autograd.Function):
    """The sum of siglip, a chunk of images at a time. A sum needs no second pass: gradients are made with the value."""

    @staticmethod
    def forward(
        ctx: Any,
        image_bD: Tensor,
        text_BD: Tensor,
        scale: Tensor,
        bias: Tensor,
        string_b: Tensor,
        string_B: Tensor,
        chunk: int,
    ) -> Tensor:
        image_grad_bD, text_grad_BD = torch.zeros_like(image_bD), torch.zeros_like(text_BD)
        total, bias_grad = torch.zeros_like(scale), torch.zeros_like(bias)
        for rows in slices(len(image_bD), chunk):
            positive_cB = string_b[rows, None] == string_B
            logits_cB = ((scale * image_bD[rows]) @ text_BD.T).add_(bias)
            signed_cB = torch.where(positive_cB, logits_cB, -logits_cB)
            total -= F.logsigmoid(signed_cB).sum()
            # d/dz of -log σ(y z) is -y σ(-y z)
            wrong_cB = signed_cB.neg_().sigmoid_()
            logits_grad_cB = torch.where(positive_cB, -wrong_cB, wrong_cB)
            bias_grad += logits_grad_cB.sum()
            image_grad_bD[rows] = logits_grad_cB @ text_BD
            text_grad_BD.addmm_(logits_grad_cB.T, image_bD[rows])
        scale_grad = (image_bD * image_grad_bD).sum()
        ctx.save_for_backward(image_grad_bD.mul_(scale), text_grad_BD.mul_(scale), scale_grad, bias_grad)
        return total

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        return *(grad_outputs[0] * gradient for gradient in ctx.saved_tensors), None, None, None


def nt_xent(
    z1_BD: Tensor,
    z2_BD: Tensor,
    temperature: float,
    *,
    variant: str = "symmetric",
    chunk: int | None = None,
    first: int = 0,
    rows: int | None = None,
) -> Tensor:
    """NT-Xent between two views of B cases (SimCLR, arXiv 2002.05709, eq. 1); normalises its inputs.

        mean over anchors a of  -log( e^{a·p/τ} / Σ_{z ≠ a} e^{a·z/τ} ),    p = the anchor's other view

    The sum runs over the other 2B - 1 rows. Variants: ``"symmetric"`` has 2B anchors; ``"view1"`` only the B rows of
    view 1 (SM3, eq. 1 as printed); ``"decoupled"`` has 2B anchors and sums over the other cases' 2B - 2 rows only
    (M2CG, eq. 4 as printed; Decoupled Contrastive Learning, arXiv 2110.06848).

    Raises ValueError as ``clip`` does, for an unknown variant, and for ``"decoupled"`` with a single case.
    """
    if variant not in ("symmetric", "view1", "decoupled"):
        raise unknown("variant of nt_xent", variant, ("symmetric", "view1", "decoupled"))
    cases = len(z1_BD)
    if variant == "decoupled" and cases < 2:
        raise ValueError(f"decoupled nt_xent needs at least 2 cases, not {cases}: its denominator would be empty.")
    own = _own_rows(z1_BD, z2_BD, first, rows)
    z1_BD, z2_BD = F.normalize(z1_BD, dim=-1), F.normalize(z2_BD, dim=-1)
    z_ND = torch.cat([z1_BD, z2_BD])
    row_N = torch.arange(2 * cases, device=z_ND.device)
    row_A = row_N[:cases][own] if variant == "view1" else torch.cat([row_N[:cases][own], row_N[cases:][own]])
    anchor_AD = z_ND[row_A]
    paired_A = (anchor_AD * z_ND[(row_A + cases) % (2 * cases)]).sum(1) / temperature

    def keep(part: slice) -> Tensor:
        if variant == "decoupled":
            return row_A[part, None] % cases != row_N % cases
        return row_A[part, None] != row_N

    all_A, _ = pairwise_logsumexp(anchor_AD, z_ND, 1 / temperature, keep=keep, chunk=chunk)
    return (all_A - paired_A).mean()


def _own_rows(x_BD: Tensor, y_BD: Tensor, first: int, rows: int | None) -> slice:
    if x_BD.shape != y_BD.shape or x_BD.ndim != 2:
        raise ValueError(f"both sides must be (B, D) alike, not {tuple(x_BD.shape)} and {tuple(y_BD.shape)}.")
    return own_rows(len(x_BD), first, rows)


def own_rows(total: int, first: int, rows: int | None) -> slice:
    """A rank's own rows of a gathered batch of ``total``: all of them where ``rows`` is None.

    Raises ValueError if they do not lie in the batch.
    """
    last = total if rows is None else first + rows
    if not 0 <= first < last <= total:
        raise ValueError(f"own rows {first} to {last - 1} do not lie in a batch of {total} rows.")
    return slice(first, last)


def copies(id_B: Tensor) -> Tensor:
    """How often each row's id occurs in the batch."""
    _, place_B, counts_S = id_B.unique(return_inverse=True, return_counts=True)
    return counts_S[place_B]
