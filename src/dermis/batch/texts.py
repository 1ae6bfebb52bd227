"""The texts of a batch, ragged: each distinct string once, and one entry per (case, text) occurrence.

Nothing is padded and nothing is encoded twice. ``text_hash_S`` names a string the same on every rank and machine, so
that equal captions of two ranks can be recognised after a gather.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

Tokenizer = Callable[[list[str]], list[list[int]]]
TEXT_KEYS = ("tokens", "offsets_S1", "text_hash_S", "text_of_T", "owner_T", "kind_T")


@lru_cache(maxsize=100_000)
def hash_of(text: str) -> int:
    """A 63-bit name of the string."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def ragged(texts_of_case: Sequence[Sequence[tuple[int, str]]], tokenizer: Tokenizer) -> dict[str, Tensor]:
    """Tensors for the (kind, text) pairs of each case; occurrences are ordered by owner.

    Returns ``tokens`` (all token ids of the S distinct strings, flat), ``offsets_S1`` (their S + 1 bounds),
    ``text_hash_S``, ``text_of_T``, ``owner_T`` and ``kind_T``, all int64.
    """
    index: dict[str, int] = {}
    occurrences = [
        (index.setdefault(text, len(index)), owner, kind)
        for owner, texts in enumerate(texts_of_case)
        for kind, text in texts
    ]
    ids = tokenizer(list(index))
    text_of_T, owner_T, kind_T = torch.tensor(occurrences, dtype=torch.int64).reshape(-1, 3).unbind(1)
    lengths = torch.tensor([len(i) for i in ids], dtype=torch.int64)
    return {
        "tokens": torch.tensor([token for i in ids for token in i], dtype=torch.int64),
        "offsets_S1": torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        "text_hash_S": torch.tensor([hash_of(text) for text in index], dtype=torch.int64),
        "text_of_T": text_of_T.contiguous(),
        "owner_T": owner_T.contiguous(),
        "kind_T": kind_T.contiguous(),
    }


def select_owners(batch: dict[str, Tensor], first: int, last: int) -> dict[str, Tensor]:
    """The ragged texts of the cases first…last - 1, renumbered: as if the batch had held only these cases."""
    own = (batch["owner_T"] >= first) & (batch["owner_T"] < last)
    texts = select_occurrences(batch, own.nonzero().squeeze(1))
    return texts | {"owner_T": texts["owner_T"] - first}


def select_occurrences(batch: dict[str, Tensor], occurrence_U: Tensor) -> dict[str, Tensor]:
    """The ragged texts with these occurrences alone, in this order; strings that nobody owns any more are gone."""
    kept_S, text_of_T = batch["text_of_T"][occurrence_U].unique(return_inverse=True)
    token_N, offsets = concatenated(kept_S, batch["offsets_S1"])
    return {
        "tokens": batch["tokens"][token_N],
        "offsets_S1": offsets,
        "text_hash_S": batch["text_hash_S"][kept_S],
        "text_of_T": text_of_T,
        "owner_T": batch["owner_T"][occurrence_U],
        "kind_T": batch["kind_T"][occurrence_U],
    }


def concatenated(string_U: Tensor, offsets_S1: Tensor) -> tuple[Tensor, Tensor]:
    """Where the tokens of these strings, one after the other, lie in the flat list (N,), and their U + 1 bounds."""
    starts = offsets_S1[string_U]
    lengths = offsets_S1[string_U + 1] - starts
    offsets_U1 = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    # a token's string's start plus its place within the string
    within_N = torch.arange(int(offsets_U1[-1]), device=starts.device) - offsets_U1[:-1].repeat_interleave(lengths)
    return starts.repeat_interleave(lengths) + within_N, offsets_U1
