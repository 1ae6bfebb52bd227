"""Trained tokenizers, and the tower on them against transformers' BERT with the same weights."""

import copy
import json
import pickle
import subprocess
import sys

import pytest
import torch

from dermis.towers.trained_text import trained_text_tower
from dermis.towers.trained_tokenizer import SPECIAL, TrainedTokenizer, train_tokenizer

ENGLISH = [
    "I have a mark on my nose. It itches.",
    "There is something on my back that I have had for 3 months.",
    "Doctor: Does it bleed?\nPatient: Yes, it has bled.",
    "It has grown.",
    "Naïve",
] * 3
CHINESE = ["面部红斑伴瘙痒３个月。", "背部出现黑色斑块, 5 mm", "红红斑"]


@pytest.fixture(scope="module")
def english():
    return train_tokenizer(ENGLISH, vocabulary=160)


@pytest.fixture
def tower(english):
    """Of three layers, with weights far enough from 0 and 1 to show a mix-up."""
    tower = trained_text_tower(english, width=24, layers=3, heads=4, context_length=40)
    for parameter in tower.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return tower.eval()


def bert_of(tower):
    """transformers' BertModel with the tower's weights."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=len(tower.tokenizer), hidden_size=24, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=96, max_position_embeddings=40,
    )  # fmt: skip
    bert = transformers.BertModel(config, add_pooling_layer=False).eval()
    ours, theirs = tower.state_dict(), {}
    segment = torch.randn(2, 24)  # BERT adds a segment's vector to each position: ours holds it in the positions
    theirs["embeddings.token_type_embeddings.weight"] = segment
    theirs["embeddings.position_embeddings.weight"] = ours["position_embedding.weight"] - segment[0]
    theirs["embeddings.word_embeddings.weight"] = ours["token_embedding.weight"]
    names = {"norm": "embeddings.LayerNorm"}
    for k in range(3):
        own, its = f"layers.{k}", f"encoder.layer.{k}"
        names |= {
            f"{own}.self_attn.out_proj": f"{its}.attention.output.dense", f"{own}.linear1": f"{its}.intermediate.dense",
            f"{own}.linear2": f"{its}.output.dense", f"{own}.norm1": f"{its}.attention.output.LayerNorm",
            f"{own}.norm2": f"{its}.output.LayerNorm",
        }  # fmt: skip
        for kind in ("weight", "bias"):
            parts = ours[f"{own}.self_attn.in_proj_{kind}"].chunk(3)
            for part, tensor in zip(("query", "key", "value"), parts, strict=True):
                theirs[f"{its}.attention.self.{part}.{kind}"] = tensor
    theirs |= {f"{its}.{kind}": ours[f"{own}.{kind}"] for own, its in names.items() for kind in ("weight", "bias")}
    missing = bert.load_state_dict(theirs, strict=False)
    assert not missing.unexpected_keys
    assert not [name for name in missing.missing_keys if not name.endswith("_ids")]
    return bert


@pytest.mark.parametrize("training", [False, True])
def test_states_and_features_are_bert_s_padded_to_the_longest(tower, ragged, training):
    """Layers of torch take another path in evaluation than with gradients."""
    bert, ids = bert_of(tower), tower.tokenizer(ENGLISH[:5])
    tower.train(training)
    length = max(map(len, ids))
    padded = torch.tensor([[*i, *[0] * (length - len(i))] for i in ids])
    mask = torch.tensor([[1] * len(i) + [0] * (length - len(i)) for i in ids])
    with torch.set_grad_enabled(training):
        hidden_SLD = bert(input_ids=padded, attention_mask=mask).last_hidden_state
        states, pooled = tower.token_states(*ragged(ids)), tower.features(*ragged(ids)).pooled_BD
    torch.testing.assert_close(states, hidden_SLD[mask.bool()], rtol=1e-5, atol=1e-5)
    expected = (hidden_SLD * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-5)


def test_together_is_one_by_one(tower, ragged):
    ids = tower.tokenizer(ENGLISH[:5])
    alone = torch.cat([tower.token_states(*ragged([i])) for i in ids])
    torch.testing.assert_close(tower.token_states(*ragged(ids)), alone, rtol=1e-5, atol=1e-5)


def test_every_weight_gets_a_gradient_as_if_texts_came_alone(tower, ragged):
    tower.train()
    ids = tower.tokenizer(ENGLISH[:5])
    other = copy.deepcopy(tower)
    weight_SD = torch.randn(5, 24)
    (tower.features(*ragged(ids)).pooled_BD * weight_SD).sum().backward()
    for i, weight_D in zip(ids, weight_SD, strict=True):
        (other.features(*ragged([i])).pooled_BD[0] * weight_D).sum().backward()
    for (name, ours), theirs in zip(tower.named_parameters(), other.parameters(), strict=True):
        assert ours.grad is not None, name
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_no_texts_give_no_rows(tower, ragged):
    assert tower.features(*ragged([])).pooled_BD.shape == (0, 24)
    assert tower.tokenizer([]) == []


def test_english_word_pieces(english):
    tokenizer = TrainedTokenizer(english, 40)
    assert len(tokenizer) <= 160
    assert (tokenizer.pad, tokenizer.start, tokenizer.end, tokenizer.mask) == (0, 2, 3, 4)
    vocabulary = json.loads(english)["model"]["vocab"]
    assert [vocabulary[token] for token in SPECIAL] == [0, 1, 2, 3, 4]
    assert [len(ids) for ids in tokenizer(["", "it has"])] == [2, 4]  # words as frequent as these are whole
    for text in ENGLISH:
        ids = tokenizer([text])[0]
        assert (ids[0], ids[-1], 1 in ids) == (2, 3, False)
    assert tokenizer.text(tokenizer(["It HAS grown."])[0]) == "it has grown."
    assert tokenizer(["naive"]) == tokenizer(["Naïve"])
    assert 1 in tokenizer(["面"])[0]
    split = tokenizer(["it zz has"])[0]
    assert tokenizer.begins_word(split) == [True, True, True, *[False] * (len(split) - 5), True, True]


def test_chinese_characters_are_a_token_each():
    tokenizer = TrainedTokenizer(train_tokenizer(CHINESE, characters=True), 40)
    ids = tokenizer(["红斑3个月 mm"])[0]
    assert len(ids) == 2 + 7
    assert 1 not in ids
    assert tokenizer(["红斑３个月ＭＭ"])[0] == ids  # full-width
    assert tokenizer.text(ids) == "红斑3个月mm"
    assert tokenizer.text(tokenizer(["红癣斑"])[0]) == "红斑"  # unknown
    few = TrainedTokenizer(train_tokenizer(CHINESE, vocabulary=7, characters=True), 40)
    assert len(few) == 7
    assert {few.text([5]), few.text([6])} == {"斑", "红"}  # the most frequent ones


def test_tokens_are_truncated_and_survive_pickling(english):
    tokenizer = TrainedTokenizer(english, 6)
    long = tokenizer(["it has grown it has grown it has grown"])[0]
    assert (len(long), long[0], long[-1]) == (6, 2, 3)
    assert pickle.loads(pickle.dumps(tokenizer))(ENGLISH) == tokenizer(ENGLISH)
    assert TrainedTokenizer(tokenizer.json, 6)(ENGLISH) == tokenizer(ENGLISH)


@pytest.mark.parametrize("characters", [False, True])
def test_training_again_gives_the_same_json_in_another_process_too(characters):
    texts = ENGLISH + CHINESE
    program = (
        "import sys; from dermis.towers.trained_tokenizer import train_tokenizer; "
        f"sys.stdout.reconfigure(encoding='utf-8'); print(train_tokenizer({texts!r}, 150, {characters}), end='')"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout.decode()
    assert train_tokenizer(texts, 150, characters) == other


def test_a_tower_writes_its_tokenizer(tower, tmp_path, ragged):
    tower.write(tmp_path / "text")
    again = trained_text_tower((tmp_path / "text" / "tokenizer.json").read_text(encoding="utf-8"), 24, 3, 4, 40)
    again.load_state_dict(tower.state_dict())
    ids = again.eval().tokenizer(ENGLISH)
    assert torch.equal(again.features(*ragged(ids)).pooled_BD, tower.features(*ragged(ids)).pooled_BD)


def test_wrong_settings_are_sentences(english, ragged):
    with pytest.raises(ValueError, match="3 does not divide 32"):
        trained_text_tower(english, 32, 1, 3, 40)
    with pytest.raises(ValueError, match="must leave room"):
        trained_text_tower(english, 32, 1, 4, 2)
    with pytest.raises(ValueError, match="this is no tokenizer's JSON"):
        trained_text_tower("{}", 32, 1, 4, 40)
    with pytest.raises(ValueError, match=r"lacks the token \[PAD\]"):
        trained_text_tower(english.replace("[PAD]", "[FILL]"), 32, 1, 4, 40)
    with pytest.raises(ValueError, match="trained from texts, and here are none"):
        train_tokenizer([])
    with pytest.raises(ValueError, match="more than the 5 special tokens; it is 5"):
        train_tokenizer(ENGLISH, vocabulary=5)
    with pytest.raises(ValueError, match=r"a text of 9 tokens is longer than the tower's 8"):
        trained_text_tower(english, 32, 1, 4, 8).features(*ragged([[4] * 9]))
