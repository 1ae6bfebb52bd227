"""Two views of a picture and the text told about it: M2CG's multi-modal contrast."""

import torch.nn.functional as F
from torch import Tensor

from dermis.losses.contrastive import clip, own_rows
from dermis.registry import unknown

READINGS = ("views", "printed")


def views_and_text(
    view1_BD: Tensor,
    view2_BD: Tensor,
    text_BD: Tensor,
    temperature: float,
    *,
    weight: float = 0.75,
    reading: str = "views",
    chunk: int | None = None,
    first: int = 0,
    rows: int | None = None,
) -> Tensor:
    """Both views k of each picture find its text, and the text finds them (M2CG, eq. 6); all rows of unit length.

        mean over i and k of    w · -log( e^{v_ik·u_i/τ} / Σ_j e^{v_ik·u_j/τ} )
                        + (1 - w) · -log( e^{v_ik·u_i/τ} / Σ_j e^{u_i·v_jk/τ} )

    That is ConVIRT's loss on each view, and ``reading="views"``. The paper's second numerator is sim(v_i, u_jk), where
    texts have no views and v_i lacks one: ``"printed"`` takes v_i as the case's vector of both views, their mean
    brought to unit length, and u_jk as u_i.

    With several ranks the arguments are gathered, ``first`` and ``rows`` this rank's own (``losses.contrastive``).
    Raises ValueError as ``clip`` does, and for another reading.
    """
    if reading not in READINGS:
        raise unknown("reading of views_and_text", reading, READINGS)
    settings = {"weight": weight, "chunk": chunk, "first": first, "rows": rows}
    each = [clip(view_BD, text_BD, 1 / temperature, **settings) for view_BD in (view1_BD, view2_BD)]
    loss = (each[0] + each[1]) / 2
    if reading == "printed":
        own = own_rows(len(text_BD), first, rows)
        both_BD = view1_BD[own] + view2_BD[own]
        of_views_B = (both_BD * text_BD[own]).sum(1) / 2
        of_case_B = (F.normalize(both_BD, dim=-1) * text_BD[own]).sum(1)
        loss = loss + (1 - weight) * (of_views_B - of_case_B).mean() / temperature
    return loss
