"""BERT-like towers against transformers' padded forward, and MiniLM's published cosines."""

import sys

import pytest
import torch

from dermis.towers.build import TextTowerConfig, build_text_tower
from dermis.towers.freeze import is_frozen
from dermis.towers.hf_text import HFTextTower, HFTokenizer, hf_text_tower

transformers = pytest.importorskip("transformers")
TEXTS = ["nevus", "melanoma with irregular streaks", "a b c d e f g h i j k l m n o p q r s t u v w x y z", "scar"]


@pytest.fixture
def folder(tmp_path):
    """A tiny BERT with a word-piece vocabulary of letters, whose tokenizer pads to 64 by its file."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [p + c for p in ("", "##") for c in "abcdefghijklmnopqrstuvwxyz"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens))
    fast = transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"))
    fast.backend_tokenizer.enable_padding(length=64)
    fast.save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=len(tokens), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    transformers.BertModel(config).half().save_pretrained(tmp_path)
    return tmp_path


def test_a_roberta_s_long_texts_are_cut_to_the_positions_that_it_uses(folder, ragged):
    settings = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    settings |= {"intermediate_size": 32, "max_position_embeddings": 34, "pad_token_id": 1}
    (folder / "model.safetensors").unlink()
    transformers.RobertaModel(transformers.RobertaConfig(**settings)).save_pretrained(folder)
    tower = hf_text_tower(str(folder))
    ids = tower.tokenizer(["a b c d e " * 10])
    assert len(ids[0]) == 32, "positions 0 and 1 are the padding's and what lies before it"
    assert tower.features(*ragged(ids)).pooled_BD.isfinite().all()
    with pytest.raises(ValueError, match="context_length 33 is more than the 32 positions"):
        hf_text_tower(str(folder), context_length=33)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_buckets_equal_transformers_padded_to_the_longest(folder, ragged, pooling):
    tower = hf_text_tower(str(folder), pooling).eval()
    assert {p.dtype for p in tower.parameters()} == {torch.float32}
    ours = tower.features(*ragged(tower.tokenizer(TEXTS))).pooled_BD
    batch = tower.tokenizer.tokenizer(TEXTS, padding="longest", return_tensors="pt")
    hidden = tower.encoder(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    mean, largest = (hidden * mask).sum(1) / mask.sum(1), (hidden - 1e9 * (1 - mask)).amax(1)
    expected = {"mean": mean, "cls": hidden[:, 0], "max": largest}[pooling]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_states_are_transformers_hidden_layers_text_by_text(folder, ragged, layers):
    tower = hf_text_tower(str(folder), last_layers=layers).eval()
    ids = tower.tokenizer(TEXTS)
    state_ND, pooled_SD = tower.states_and_pooled(*ragged(ids))
    alone = [tower.encoder(torch.tensor([i]), output_hidden_states=True).hidden_states for i in ids]
    expected = [sum(hidden[-1 - back][0] for back in range(layers)) for hidden in alone]
    torch.testing.assert_close(state_ND, torch.cat(expected), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pooled_SD, torch.stack([text.mean(0) for text in expected]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pooled_SD, tower.features(*ragged(ids)).pooled_BD)
    assert torch.equal(tower.token_states(*ragged(ids)), state_ND)


def test_frozen_layers_keep_their_weights_and_the_others_learn(folder, ragged):
    tower = hf_text_tower(str(folder), freeze_layers=1)
    tower.features(*ragged(tower.tokenizer(TEXTS))).pooled_BD.pow(2).sum().backward()
    learnt = {name for name, p in tower.named_parameters() if p.grad is not None}
    assert learnt == {name for name, _ in tower.named_parameters() if ".layer.1." in name}


def test_settings_reach_the_tower(folder):
    tower = build_text_tower(TextTowerConfig(name=f"hf:{folder}", pooling="max", last_layers=2, freeze_layers=1))
    assert (tower.pooling, tower.last_layers) == ("max", 2)
    assert not tower.encoder.embeddings.word_embeddings.weight.requires_grad
    assert not is_frozen(tower)
    with pytest.raises(ValueError, match="last_layers, freeze_layers has an effect for an hf: tower only"):
        build_text_tower(TextTowerConfig(last_layers=2, freeze_layers=1))


def test_the_first_layers_alone(folder, ragged, tmp_path):
    whole, first = hf_text_tower(str(folder)).eval(), hf_text_tower(str(folder), layers=1).eval()
    ids = whole.tokenizer(TEXTS)
    after_one = [whole.encoder(torch.tensor([i]), output_hidden_states=True).hidden_states[1][0] for i in ids]
    torch.testing.assert_close(first.token_states(*ragged(ids)), torch.cat(after_one), rtol=1e-5, atol=1e-5)
    first.write(tmp_path / "text")
    again = hf_text_tower(str(tmp_path / "text"), pretrained=False, layers=1)
    assert again.state_dict().keys() == first.state_dict().keys()
    with pytest.raises(ValueError, match="layers is 1 to 2 here, not 3"):
        hf_text_tower(str(folder), layers=3)


def test_special_tokens(folder):
    tokenizer = hf_text_tower(str(folder)).tokenizer
    assert (tokenizer.pad, tokenizer.start, tokenizer.end, tokenizer.mask, len(tokenizer)) == (0, 2, 3, 4, 57)
    assert tokenizer.text(tokenizer(["ab c"])[0]) == "ab c"
    tokenizer.tokenizer.mask_token = None
    with pytest.raises(ValueError, match="no mask_token, as BERT's have"):
        _ = tokenizer.mask


def test_pieces_begin_words_where_the_text_has_spaces(folder):
    tokenizer = hf_text_tower(str(folder)).tokenizer
    assert tokenizer.begins_word(tokenizer(["ab c def"])[0]) == [True, True, False, True, True, False, False, True]
    with pytest.raises(ValueError, match="BERT's word-pieces only"):
        HFTokenizer(None, 1).begins_word([1])


def test_every_weight_gets_a_gradient(folder, ragged):
    tower = hf_text_tower(str(folder))
    tower.features(*ragged(tower.tokenizer(TEXTS))).pooled_BD.pow(2).sum().backward()
    assert [n for n, p in tower.named_parameters() if p.grad is None] == []


def test_tokens_are_not_padded_and_are_truncated(folder):
    tower = hf_text_tower(str(folder), context_length=6)
    assert [len(ids) for ids in tower.tokenizer(["a b", "a b c d e f g h"])] == [4, 6]
    assert tower.tokenizer([]) == []


def test_no_texts_give_no_rows(folder, ragged):
    assert hf_text_tower(str(folder)).features(*ragged([])).pooled_BD.shape == (0, 32)


def test_wrong_settings_are_sentences(folder, monkeypatch):
    with pytest.raises(ValueError, match="no folder at /nowhere/bert"):
        hf_text_tower("/nowhere/bert")
    (folder / "empty").mkdir()
    (folder / "empty" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"transformers cannot load .*Unrecognized model"):
        hf_text_tower(str(folder / "empty"))
    with pytest.raises(ValueError, match="999 is more than the 512 positions"):
        hf_text_tower(str(folder), context_length=999)
    with pytest.raises(ValueError, match="unknown text pooling 'sum'"):
        HFTextTower(torch.nn.Identity(), HFTokenizer(None, 1), "sum")
    with pytest.raises(ValueError, match="last_layers is 1 to 2 here, not 3"):
        hf_text_tower(str(folder), last_layers=3)
    with pytest.raises(ValueError, match="freeze_layers is 0 to 2 here, not 3"):
        hf_text_tower(str(folder), freeze_layers=3)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'dermis\[hf\]'"):
        hf_text_tower(str(folder))


def test_a_file_without_all_weights_is_an_error(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 tensors of its encoder"):
        hf_text_tower(str(folder))


@pytest.mark.data
def test_minilm_gives_its_published_cosines(shared_weights, ragged):
    tower = hf_text_tower(str(shared_weights / "all-minilm-l6-v2")).eval()
    texts = ["melanoma with irregular streaks", "malignant melanocytic tumour", "recipe for apple pie"]
    with torch.no_grad():
        vector_SD = torch.nn.functional.normalize(tower.features(*ragged(tower.tokenizer(texts))).pooled_BD, dim=-1)
    assert (vector_SD[0] @ vector_SD[1:].T).tolist() == pytest.approx([0.597, 0.061], abs=5e-4)
