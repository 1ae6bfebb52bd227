"""What methods do before their loss: find each case's one text of a kind, and give vectors unit length."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dermis.cases.columns import TEXT_KINDS
from dermis.losses.precision import at_least_float32
from dermis.towers.two_tower import TwoTower


def caption_of_case(batch: dict[str, Tensor]) -> Tensor:
    """Which of the S distinct strings is each case's caption, (B,). Raises ValueError as ``text_of_case``."""
    return text_of_case(batch, "caption")


def text_of_case(batch: dict[str, Tensor], column: str) -> Tensor:
    """Which of the S distinct strings is each case's text of ``column``, (B,).

    Raises ValueError if a case has no such text or several.
    """
    cases = len(batch["row_B"])
    is_asked_T = batch["kind_T"] == TEXT_KINDS[column]
    owner, order = batch["owner_T"][is_asked_T].sort()
    if not torch.equal(owner, torch.arange(cases, device=owner.device)):
        counts_B = owner.bincount(minlength=cases)
        wrong = int((counts_B != 1).nonzero()[0])
        raise ValueError(
            f"every case needs exactly one {column}; the case in manifest row {int(batch['row_B'][wrong])} "
            f"has {int(counts_B[wrong])} ({int((counts_B != 1).sum())} such cases in this batch of {cases})."
        )
    return batch["text_of_T"][is_asked_T][order]


def embed_pairs(model: TwoTower, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """``image`` and ``text``, (B, E) each, of unit length: each case's picture and its caption's row.

    Each of the batch's S distinct strings is encoded once.
    """
    text_SE = unit_length(model.encode_text(batch["tokens"], batch["offsets_S1"]))
    return {"image": unit_length(model.image_embedding(batch)), "text": text_SE[caption_of_case(batch)]}


def unit_length(x_BE: Tensor) -> Tensor:
    """Rows of length 1, in float32 at least."""
    return F.normalize(at_least_float32(x_BE), dim=-1)
