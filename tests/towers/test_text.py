"""The packed text tower against open_clip's padded one, and the laying of texts into rows."""

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dermis.towers.ragged import buckets, pack, padded
from dermis.towers.text import BytePairTokenizer, small_text_tower

TEXTS = [
    "a photo of melanoma",
    "nevus",
    "",
    "irregular streaks, blue-white veil & regression",
    " ".join(["skin"] * 200),
]


@pytest.fixture
def tower():
    tower = small_text_tower(width=64, layers=3, heads=4)
    for p in tower.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return tower


def padded_features(tower, texts):
    """open_clip's own computation, 77 places each."""
    return tower.encoder(open_clip.SimpleTokenizer()(texts))


def test_packed_texts_equal_open_clips_padded_ones(tower, ragged):
    ours = tower.features(*ragged(tower.tokenizer(TEXTS))).pooled_BD
    torch.testing.assert_close(ours, padded_features(tower, TEXTS), rtol=1e-5, atol=1e-5)


def test_packed_texts_have_the_gradient_of_padded_ones(tower, ragged):
    def gradients(features):
        (features * torch.linspace(-1, 1, 64)).pow(2).sum().backward()
        found = [p.grad.clone() for p in tower.parameters()]
        tower.zero_grad()
        return found

    packed = gradients(tower.features(*ragged(tower.tokenizer(TEXTS))).pooled_BD)
    for ours, theirs in zip(packed, gradients(padded_features(tower, TEXTS)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_text_does_not_see_its_neighbours_in_the_row(tower, ragged):
    together = tower.features(*ragged(tower.tokenizer(["nevus", "melanoma", "scar"]))).pooled_BD
    alone = [tower.features(*ragged(tower.tokenizer([t]))).pooled_BD[0] for t in ("nevus", "melanoma", "scar")]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-5, atol=1e-5)


def test_packing_computes_few_places(tower, ragged):
    rows = []
    tower.encoder.transformer.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0].shape))
    tower.features(*ragged(tower.tokenizer(["nevus"] * 50)))
    assert rows[0][:2] == (3, 77)  # 50 texts of 4 tokens, 19 to a row; padded they would be 50 rows


def test_no_texts_give_no_rows(tower, ragged):
    assert tower.features(*ragged([])).pooled_BD.shape == (0, 64)


def test_the_tokenizer_is_open_clips_without_padding():
    theirs = open_clip.SimpleTokenizer(context_length=20)(TEXTS)
    for ids, row in zip(BytePairTokenizer(20)(TEXTS), theirs.tolist(), strict=True):
        assert ids == [i for i in row if i]


def test_pieces_begin_words_where_the_text_has_spaces():
    tokenizer = BytePairTokenizer(20)
    tokens = tokenizer(["Spitzoid nevus, hyperkeratosis"])[0]
    words = [[]]
    for token, begins in zip(tokens, tokenizer.begins_word(tokens), strict=True):
        words = [*words, [token]] if begins else [*words[:-1], [*words[-1], token]]
    said = [tokenizer.text(word) for word in words[2:-1]]
    assert said == ["spitzoid", "nevus", ",", "hyperkeratosis"]
    assert len(tokens) > len(said) + 2
    assert words[1] == tokens[:1]
    assert words[-1] == tokens[-1:]


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="3 does not divide 64"):
        small_text_tower(width=64, heads=3)


@given(st.lists(st.integers(1, 20), max_size=40))
@settings(deadline=None, max_examples=50)
def test_packed_texts_never_overlap_or_leave_their_row(lengths):
    packing = pack(lengths, 20)
    used = set()
    for row, start, length in zip(packing.row_S.tolist(), packing.start_S.tolist(), lengths, strict=True):
        places = {(row, start + i) for i in range(length)}
        assert start + length <= 20
        assert row < packing.rows
        assert not places & used
        used |= places
    assert packing.rows * 10 <= sum(lengths) + 20  # all rows but one are at least half full


def test_long_texts_are_laid_first():
    assert pack([5, 5, 5, 5, 15, 15, 15, 15], 20).rows == 4


def test_a_text_longer_than_the_row_is_an_error():
    with pytest.raises(ValueError, match="21 tokens is longer than the tower's 20"):
        pack([3, 21], 20)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=40))
def test_buckets_hold_every_text_once_and_pad_little(lengths):
    groups = list(buckets(lengths, step=8))
    assert sorted(t for texts, _ in groups for t in texts) == list(range(len(lengths)))
    assert all(longest - 8 < lengths[t] <= longest for texts, longest in groups for t in texts)


def test_padding_fills_behind_each_text():
    rows, mask = padded(torch.tensor([5, 6, 7]), torch.tensor([0, 2, 3]), length=4, fill=9)
    assert rows.tolist() == [[5, 6, 9, 9], [7, 9, 9, 9]]
    assert mask.tolist() == [[True, True, False, False], [True, False, False, False]]


def test_the_tokenizer_does_not_grow_for_ever(monkeypatch):
    from dermis.towers import text

    monkeypatch.setattr(text, "WORDS", 40)
    tokenizer, pairs = text.BytePairTokenizer(), text._byte_pairs()
    before = tokenizer(["a red scale"])
    for i in range(30):
        tokenizer([f"patient{i:05d} itches"])
    assert len(pairs.cache) < 60
    assert tokenizer(["a red scale"]) == before
    assert pairs.encode("<start_of_text>") == [pairs.sot_token_id]
