"""SM3's cross term: the dermoscopy and the clinical picture of one case against those of the other cases.

After SM3 (Wang et al., eq. 4) and its release (Dylan-H-Wang/skin-sm3 @ 255038f, src/models/simclr.py), which differ.
B cases of width D, two augmented views (1, 2) of each of the two pictures; row i of all four is case i.
"""

import torch
from torch import Tensor

from dermis.losses.contrastive import nt_xent
from dermis.registry import unknown

VARIANTS = ("released", "paper")
# (dermoscopy view, clinical view) of each term
STYLES = {0: ((0, 0), (1, 1)), 1: ((0, 1), (1, 0)), 2: ((0, 0), (0, 1), (1, 0), (1, 1))}


def cross_modal(
    derm1_BD: Tensor,
    clinic1_BD: Tensor,
    derm2_BD: Tensor,
    clinic2_BD: Tensor,
    temperature: float,
    *,
    style: int = 0,
    variant: str = "released",
    chunk: int | None = None,
    first: int = 0,
    rows: int | None = None,
) -> Tensor:
    """NT-Xent between the projections d of dermoscopy and c of clinical pictures; normalises its inputs.

        "released"   mean over the style's pairs (d, c) of nt_xent(d, c): both are anchors, each with the negatives of
                     both modalities. Style 0: (d1, c1), (d2, c2); 1: (d1, c2), (d2, c1); 2: all four
        "paper"      Σ_{v=1,2} mean_i -log( e^{d1_i·cv_i/τ} / Σ_j ( e^{d1_i·cv_j/τ} + [i ≠ j] e^{d1_i·d1_j/τ} ) )

    "paper" is eq. 4 as printed: only view 1 of dermoscopy is an anchor (``derm2_BD`` takes no part) and the two terms
    are added up, so its weight in eq. 5 is twice that of the released mean. ``chunk``, ``first`` and ``rows`` are those
    of ``nt_xent``.

    Raises ValueError for an unknown variant or style, for a style other than 0 with "paper", for four shapes that are
    not alike, and as ``nt_xent`` does.
    """
    if variant not in VARIANTS:
        raise unknown("variant of cross_modal", variant, VARIANTS)
    if style not in STYLES:
        raise ValueError(
            f"style of cross_modal is 0 (same views), 1 (other views) or 2 (all four pairs), not {style!r}."
        )
    if variant == "paper" and style != 0:
        raise ValueError(f"style {style} has no effect on variant 'paper', which has its own pairs: leave it at 0.")
    derm, clinic = (derm1_BD, derm2_BD), (clinic1_BD, clinic2_BD)
    if len({x.shape for x in (*derm, *clinic)}) > 1:
        raise ValueError(
            "both views of both modalities must be (B, D) alike, not "
            f"{', '.join(str(tuple(x.shape)) for x in (derm1_BD, clinic1_BD, derm2_BD, clinic2_BD))}."
        )

    def terms(pairs: tuple[tuple[int, int], ...], anchors: str) -> Tensor:
        return torch.stack(
            [
                nt_xent(derm[d], clinic[c], temperature, variant=anchors, chunk=chunk, first=first, rows=rows)
                for d, c in pairs
            ]
        )

    if variant == "paper":
        return terms(((0, 0), (0, 1)), "view1").sum()
    return terms(STYLES[style], "symmetric").mean()
