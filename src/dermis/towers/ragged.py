"""Ragged texts -> tensors without encoding padding: packed rows, or buckets of nearly equal length."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Packing(NamedTuple):
    """Where each text lies when several texts share a row."""

    row_S: Tensor  # noqa: N815 (shapes are in the names)
    start_S: Tensor  # noqa: N815
    rows: int


def pack(lengths: Sequence[int], width: int) -> Packing:
    """Lay texts of ``lengths`` into rows of ``width`` tokens, longest first, each into the fullest row that takes it.

    Raises ValueError for a text longer than ``width``.
    """
    if lengths and max(lengths) > width:
        raise ValueError(
            f"a text of {max(lengths)} tokens is longer than the tower's {width}; its tokenizer truncates."
        )
    rows_with_room: list[list[int]] = [[] for _ in range(width + 1)]
    row_S, start_S = [0] * len(lengths), [0] * len(lengths)
    rows = 0
    for text in sorted(range(len(lengths)), key=lambda s: -lengths[s]):
        length = lengths[text]
        room = next((r for r in range(length, width + 1) if rows_with_room[r]), None)
        if room is None:
            row, room, rows = rows, width, rows + 1
        else:
            row = rows_with_room[room].pop()
        row_S[text], start_S[text] = row, width - room
        rows_with_room[room - length].append(row)
    return Packing(torch.tensor(row_S), torch.tensor(start_S), rows)


def places(offsets_S1: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """For each of the flat ``tokens``: which text it belongs to, and its place within that text."""
    text_N = torch.repeat_interleave(offsets_S1.diff(), output_size=tokens)
    return text_N, torch.arange(tokens, device=offsets_S1.device) - offsets_S1[text_N]


def padded(values_N: Tensor, offsets_S1: Tensor, length: int, fill: float = 0) -> tuple[Tensor, Tensor]:
    """Flat values (N, ...) -> (S, length, ...), ``fill`` at the end of each text, and the mask of real places."""
    text_N, place_N = places(offsets_S1, len(values_N))
    texts = len(offsets_S1) - 1
    rows = values_N.new_full((texts * length, *values_N.shape[1:]), fill)
    mask = torch.zeros(texts * length, dtype=torch.bool, device=values_N.device)
    where_N = text_N * length + place_N
    return (
        rows.index_copy(0, where_N, values_N).reshape(texts, length, *values_N.shape[1:]),
        mask.index_fill_(0, where_N, True).reshape(texts, length),
    )


class OfLikeLength(NamedTuple):
    """Some texts, padded to the longest of them."""

    text_b: Tensor
    """which texts"""
    token_n: Tensor
    """where their tokens lie among all, text by text"""
    x_bLD: Tensor  # noqa: N815
    real_bL: Tensor  # noqa: N815


def by_length(x_ND: Tensor, offsets_S1: Tensor) -> Iterator[OfLikeLength]:
    """All texts of flat token vectors and S + 1 bounds, those of like length together (``buckets``)."""
    bounds = offsets_S1.tolist()
    lengths = [end - start for start, end in pairwise(bounds)]
    for texts, length in buckets(lengths):
        token_n = torch.cat([torch.arange(bounds[t], bounds[t + 1]) for t in texts]).to(x_ND.device)
        offsets_b1 = torch.tensor([0, *(lengths[t] for t in texts)], device=x_ND.device).cumsum(0)
        x_bLD, real_bL = padded(x_ND[token_n], offsets_b1, length)
        yield OfLikeLength(torch.tensor(texts, device=x_ND.device), token_n, x_bLD, real_bL)


def buckets(lengths: Sequence[int], step: int = 8) -> Iterator[tuple[list[int], int]]:
    """Positions of the texts whose lengths round up to the same multiple of ``step``, and their greatest length."""
    groups: dict[int, list[int]] = {}
    for text, length in enumerate(lengths):
        groups.setdefault(-(-length // step), []).append(text)
    for _, texts in sorted(groups.items()):
        yield texts, max(lengths[t] for t in texts)
