"""Hidden words: how many, whole, what stands in their place, and that chance is torch's alone."""

import pytest
import torch

from dermis.towers.masked_words import MaskedWords, WordHead, draw_of_each
from dermis.towers.trained_tokenizer import TrainedTokenizer, train_tokenizer

ENGLISH = [
    "a dark asymmetric macule on the back",
    "itchy plaques",
    "It grew; does it bleed?",
    "erythematous papule",
] * 9
CHINESE = ["面部红斑伴瘙痒３个月。", "背部出现黑色斑块", "红红斑"]


@pytest.fixture(scope="module")
def tokenizer():
    return TrainedTokenizer(train_tokenizer(ENGLISH, vocabulary=70), 40)


def words_of(tokenizer, ids):
    """The places of each word of one text's ids, special tokens left out, spelt out."""
    words = []
    for place, token in enumerate(ids):
        if token in (tokenizer.start, tokenizer.end):
            continue
        if tokenizer.begins_word([token])[0]:
            words.append([])
        words[-1].append(place)
    return words


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_words_are_hidden_whole_and_in_each_text_by_their_share(tokenizer, ragged, share):
    torch.manual_seed(0)
    ids = tokenizer(ENGLISH)
    tokens, offsets = ragged(ids)
    told, hidden = MaskedWords(tokenizer, share)(tokens, offsets)
    pieces = 0
    for text, own_n in zip(ids, hidden.split([len(text) for text in ids]), strict=True):
        own, words = own_n.tolist(), words_of(tokenizer, text)
        states = [{own[place] for place in word} for word in words]
        assert all(len(state) == 1 for state in states)
        assert sum(state == {True} for state in states) == max(1, round(share * len(words)))
        assert (own[0], own[-1]) == (False, False)
        pieces += max(map(len, words)) > 1
    assert pieces > 20
    assert torch.equal(told[~hidden], tokens[~hidden])


def test_of_hidden_tokens_8_in_10_are_the_mask_1_is_any_and_1_stays(tokenizer, ragged):
    torch.manual_seed(1)
    tokens, offsets = ragged(tokenizer(ENGLISH * 100))
    told, hidden = MaskedWords(tokenizer, 0.5)(tokens, offsets)
    n = int(hidden.sum())
    assert n > 15_000
    masked, same = told[hidden] == tokenizer.mask, told[hidden] == tokens[hidden]
    assert (masked.sum() / n).item() == pytest.approx(0.8 + 0.1 / len(tokenizer), abs=0.01)
    assert (same.sum() / n).item() == pytest.approx(0.1 + 0.1 / len(tokenizer), abs=0.01)
    other = told[hidden][~masked & ~same]
    assert len(other.unique()) == len(tokenizer) - 1  # any token, the mask counted above
    share = other.bincount().float() / n * len(tokenizer)
    assert share[share > 0].mean().item() == pytest.approx(0.1, abs=0.01)


def test_words_are_drawn_alike_and_anew(tokenizer, ragged):
    group, counts = torch.tensor([0] * 4 + [2] * 7), torch.zeros(11)
    torch.manual_seed(2)
    sets = set()
    for _ in range(3000):
        drawn = draw_of_each(group, 3, 0.3)
        assert (int(drawn[:4].sum()), int(drawn[4:].sum())) == (1, 2)
        sets.add(tuple(drawn.tolist()))
        counts += drawn
    torch.testing.assert_close(counts / 3000, torch.tensor([1 / 4] * 4 + [2 / 7] * 7), atol=0.035, rtol=0)
    assert len(sets) == 4 * 21

    hide, texts = MaskedWords(tokenizer, 0.15), ragged(tokenizer(ENGLISH))
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append([*hide(*texts), *hide(*texts)])
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not torch.equal(found[0][1], found[0][3])
    assert not torch.equal(found[0][1], found[2][1])


def test_pieces_characters_and_empty_texts(tokenizer, ragged):
    torch.manual_seed(5)
    ids = tokenizer(["erythematous"] * 50)
    assert len(ids[0]) > 4
    assert len(words_of(tokenizer, ids[0])) == 1
    told, hidden = MaskedWords(tokenizer, 0.15, "pieces")(*ragged(ids))
    assert hidden.view(50, -1).sum(1).tolist() == [max(1, round(0.15 * (len(ids[0]) - 2)))] * 50
    assert len(hidden.view(50, -1).unique(dim=0)) == len(ids[0]) - 2

    chinese = TrainedTokenizer(train_tokenizer(CHINESE, vocabulary=60, characters=True), 40)
    ids = chinese(["背部红斑背部红斑背部红斑背部", "", "斑"])
    told, hidden = MaskedWords(chinese, 0.15)(*ragged(ids))
    assert [int(part.sum()) for part in hidden.split([len(i) for i in ids])] == [2, 0, 1]
    nothing, offsets = ragged(chinese(["", ""]))
    told, hidden = MaskedWords(chinese, 0.15)(nothing, offsets)
    assert torch.equal(told, nothing)
    assert not hidden.any()


def test_a_bert_s_words_are_known_too(tmp_path, ragged):
    transformers = pytest.importorskip("transformers")
    from dermis.towers.hf_text import HFTokenizer

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "nevus", "ne", "##vi", "##form"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens))
    bert = HFTokenizer(transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")), 40)
    ids = bert(["neviform nevus"] * 40)
    assert ids[0] == [2, 6, 7, 8, 5, 3]
    hidden = MaskedWords(bert, 0.15)(*ragged(ids))[1].view(40, -1)
    assert {tuple(row) for row in hidden.int().tolist()} == {(0, 1, 1, 1, 0, 0), (0, 0, 0, 0, 1, 0)}
    nameless = HFTokenizer(transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"), mask_token=None), 40)
    with pytest.raises(ValueError, match="no mask_token"):
        MaskedWords(nameless, 0.15)


def test_the_head_is_a_layer_and_the_product_with_each_token_s_vector():
    torch.manual_seed(6)
    head, state, vectors = WordHead(5, 9, 4), torch.randn(3, 5), torch.randn(9, 4)
    head.bias_V.data.normal_()
    first = torch.nn.functional.gelu(state @ head.layer[0].weight.T + head.layer[0].bias)
    first = (first - first.mean(1, keepdim=True)) / first.var(1, unbiased=False, keepdim=True).sqrt()
    for h in range(3):
        for v in range(9):
            assert head(state, vectors)[h, v].item() == pytest.approx(
                (first[h] @ vectors[v] + head.bias_V[v]).item(), abs=1e-4
            )
