"""BERT-like towers against transformers' padded forward, and MiniLM's published cosines."""

import sys

import pytest
import torch

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


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_buckets_equal_transformers_padded_to_the_longest(folder, ragged, pooling):
    tower = hf_text_tower(str(folder), pooling).eval()
    assert {p.dtype for p in tower.parameters()} == {torch.float32}
    ours = tower.features(*ragged(tower.tokenizer(TEXTS))).pooled_BD
    batch = tower.tokenizer.tokenizer(TEXTS, padding="longest", return_tensors="pt")
    hidden = tower.encoder(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    expected = (hidden * mask).sum(1) / mask.sum(1) if pooling == "mean" else hidden[:, 0]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


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
    with pytest.raises(ValueError, match="unknown text pooling 'max'"):
        HFTextTower(torch.nn.Identity(), HFTokenizer(None, 1), "max")
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
