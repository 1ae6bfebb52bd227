"""Ragged texts: distinct once, owners in order, and a slice is what the batch of its cases alone would be."""

import torch

from dermis.batch.slices import slices
from dermis.batch.texts import hash_of, ragged

CASES = [
    [(0, "a mole"), (1, "nevus"), (3, "round"), (3, "brown")],
    [],
    [(0, "a mole"), (3, "brown")],
    [(0, "a long sentence of several words")],
]


def words(texts: list[str]) -> list[list[int]]:
    return [[hash_of(word) % 1000 for word in text.split()] for text in texts]


def said(batch: dict, case: int) -> list[tuple[int, list[int]]]:
    """(kind, token ids) of one case, read off the tensors."""
    return [
        (int(kind), batch["tokens"][batch["offsets_S1"][text] : batch["offsets_S1"][text + 1]].tolist())
        for text, owner, kind in zip(batch["text_of_T"], batch["owner_T"], batch["kind_T"], strict=True)
        if owner == case
    ]


def test_each_distinct_string_stands_once_and_each_occurrence_is_found():
    batch = ragged(CASES, words)
    assert len(batch["offsets_S1"]) - 1 == len(batch["text_hash_S"]) == 5
    assert len(batch["tokens"]) == sum(len(t.split()) for t in {t for case in CASES for _, t in case})
    for case, texts in enumerate(CASES):
        assert said(batch, case) == [(kind, words([text])[0]) for kind, text in texts]
    assert (batch["owner_T"].diff() >= 0).all()


def test_slices_are_the_batches_of_their_cases():
    batch = {"row_B": torch.arange(4), "label_B": torch.tensor([3, 1, 4, 1])} | ragged(CASES, words)
    for count in (1, 2, 3, 4):
        parts = list(slices(batch, count))
        assert torch.cat([p["label_B"] for p in parts]).tolist() == [3, 1, 4, 1]
        for part in parts:
            alone = ragged([CASES[row] for row in part["row_B"]], words)
            for case in range(len(part["row_B"])):
                assert said(part, case) == said(alone, case)
            assert part["text_hash_S"].sort().values.tolist() == alone["text_hash_S"].sort().values.tolist()


def test_a_batch_without_texts_is_empty_not_broken():
    batch = ragged([[], []], words)
    assert batch["offsets_S1"].tolist() == [0]
    assert batch["tokens"].shape == batch["owner_T"].shape == (0,)
