"""Which texts of a batch MAKE takes, and how its release lays them out."""

import torch
from torch import Tensor

from dermis.batch.texts import select_occurrences
from dermis.losses.multi_aspect import SENTENCE


def aspects_of(batch: dict[str, Tensor], num_sentences: int) -> dict[str, Tensor]:
    """The ragged raw, disease and concept texts and first ``num_sentences`` sentences, by case and kind."""
    owner_T, kind_T = batch["owner_T"], batch["kind_T"]
    order = (owner_T * (SENTENCE + 1) + kind_T.clamp(max=SENTENCE)).argsort(stable=True)
    order = order[kind_T[order] <= SENTENCE]
    kept = (kind_T[order] < SENTENCE) | (_place(owner_T[order], kind_T[order]) < num_sentences)
    return select_occurrences(batch, order[kept])


def grid(value_TE: Tensor, texts: dict[str, Tensor], empty_1E: Tensor, cases: int, columns: int) -> Tensor:
    """Values of the occurrences as (cases, columns, E): raw, disease, concept, sentences; ``empty_1E`` where none is.

    Raises ValueError if a case has two texts of a kind other than sentences.
    """
    owner_T, kind_T = texts["owner_T"], texts["kind_T"]
    place_T = _place(owner_T, kind_T)
    if (place_T[kind_T < SENTENCE] > 0).any():
        raise ValueError("the release's layout has one raw, one disease and one concept text for each case at most.")
    cell_T = owner_T * columns + kind_T + place_T
    return empty_1E.expand(cases * columns, -1).index_copy(0, cell_T, value_TE).reshape(cases, columns, -1)


def _place(owner_T: Tensor, kind_T: Tensor) -> Tensor:
    """How many texts of the same kind the same case has before this one; texts lie by case and kind."""
    _, count = (owner_T * (SENTENCE + 1) + kind_T).unique_consecutive(return_counts=True)
    start = count.cumsum(0) - count
    return torch.arange(len(owner_T), device=owner_T.device) - start.repeat_interleave(count)
