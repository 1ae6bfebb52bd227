"""Model folders: what is saved comes back, whole or not at all."""

import json
from dataclasses import dataclass

import pytest
import torch

from dermis.model import load, save
from dermis.model.folder import name_of
from dermis.towers.build import ImageTowerConfig, TextTowerConfig, build_image_tower
from dermis.towers.two_tower import TwoTower


@dataclass
class Recipe:
    epochs: int = 3


def test_a_folder_holds_what_the_house_says(tiny, tmp_path):
    report = {"entries": []}
    folder = save(tmp_path / "model", tiny(), recipe=Recipe(), report=report)
    names = {"model.safetensors", "dermis.json", "open_clip_config.json", "recipe.yaml", "README.md", "report.json"}
    assert {p.name for p in folder.iterdir()} == names
    assert (folder / "recipe.yaml").read_text() == "epochs: 3\n"
    assert json.loads((folder / "report.json").read_text()) == report
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_what_is_loaded_is_what_was_saved_bit_by_bit(tiny, tmp_path):
    model = tiny(pool="token+avg", logit_bias_init=-10.0)
    loaded = load(save(tmp_path / "model", model))
    assert not loaded.training
    assert loaded.config == model.config
    assert {k: v.tolist() for k, v in loaded.state_dict().items()} == {
        k: v.tolist() for k, v in model.state_dict().items()
    }


def test_weights_are_in_the_file_once(tiny, tmp_path):
    model = tiny()
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert size < (save(tmp_path / "model", model) / "model.safetensors").stat().st_size < size + 20_000


def test_a_transformers_tower_comes_back_without_its_source(tiny, tmp_path, ragged):
    transformers = pytest.importorskip("transformers")
    source = tmp_path / "bert"
    source.mkdir()
    letters = [p + c for p in ("", "##") for c in "abcdefghijklmnopqrstuvwxyz"]
    (source / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]))
    transformers.BertTokenizerFast(vocab=str(source / "vocab.txt")).save_pretrained(source)
    settings = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.BertModel(transformers.BertConfig(vocab_size=57, **settings)).save_pretrained(source)
    model = tiny(text=TextTowerConfig(name=f"hf:{source}", context_length=9, pooling="cls"))
    folder = save(tmp_path / "model", model)
    source.rename(tmp_path / "gone")
    assert "bert" not in (folder / "dermis.json").read_text()
    loaded = load(folder.rename(tmp_path / "moved"))
    ids = model.text.tokenizer(["nevus", "seborrheic keratosis"])
    assert loaded.text.tokenizer(["nevus", "seborrheic keratosis"]) == ids
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode_text(*ragged(ids)), model.encode_text(*ragged(ids)))


def test_an_image_tower_alone_is_a_model_too(tmp_path):
    tower = build_image_tower(ImageTowerConfig(name="test_efficientnet", freeze=True)).eval()
    loaded = load(save(tmp_path / "model", tower))
    image_BCHW = torch.randn(1, 3, 160, 160)
    assert loaded.features(image_BCHW).pooled_BD.equal(tower.features(image_BCHW).pooled_BD)


def test_a_model_is_replaced_but_nothing_else_is(tiny, tmp_path):
    folder = save(tmp_path / "model", tiny())
    save(folder, tiny(embed_dim=16))
    assert load(folder).embed_dim == 16
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    with pytest.raises(ValueError, match="something that is not a dermis model"):
        save(tmp_path / "thesis", tiny())


def test_a_failed_save_leaves_the_old_model(tiny, tmp_path):
    model = tiny()
    folder = save(tmp_path / "model", model)
    with pytest.raises(ValueError, match="does not say how to build it again"):
        save(folder, TwoTower(model.image, model.text, 8))
    assert load(folder).embed_dim == 24
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_what_is_no_model_is_a_sentence(tiny, tmp_path):
    with pytest.raises(ValueError, match="no folder at"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"neither dermis\.json nor open_clip_config\.json"):
        load(tmp_path)
    folder = save(tmp_path / "model", tiny())
    settings = json.loads((folder / "dermis.json").read_text())
    settings["config"]["embed_dim"] = 25
    (folder / "dermis.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="do not fit TwoTower: 2 of another shape"):
        load(folder)
    (folder / "dermis.json").write_text(json.dumps(settings | {"format": 2}))
    with pytest.raises(ValueError, match="upgrade dermis"):
        load(f"local-dir:{folder}")


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ('{"format": 1', r"dermis\.json is not JSON"),
        ("[]", r"dermis\.json has no format number"),
        ('{"format": "1"}', r"dermis\.json has no format number"),
        ('{"format": 1, "kind": "two_towers"}', r"unknown kind of model in .*dermis\.json 'two_towers'.*'two_tower'"),
        ('{"format": 1, "kind": "two_tower"}', r"dermis\.json lacks config, names"),
        ('{"format": 1, "kind": "branches", "config": {}}', r"dermis\.json lacks parts"),
    ],
)
def test_damaged_settings_are_a_sentence_that_names_the_file(settings, sentence, tiny, tmp_path):
    folder = save(tmp_path / "model", tiny())
    (folder / "dermis.json").write_text(settings)
    with pytest.raises(ValueError, match=sentence):
        load(folder)


def test_a_run_in_the_place_of_its_model_is_a_question(tiny, tmp_path):
    save(tmp_path / "run" / "model", tiny())
    with pytest.raises(ValueError, match=r"run is no model folder; did you mean .*run/model, the model of this run\?"):
        load(tmp_path / "run")


@pytest.mark.parametrize(
    "source, name",
    [
        ("runs/clip_small/model", "clip_small"),
        ("local-dir:runs/clip_small/model/", "clip_small"),
        ("../seed-1/rows/..", "seed-1"),
        ("/model", "model"),
        ("hf-hub:xieji-x/MAKE", "MAKE"),
    ],
)
def test_a_model_is_called_after_its_run_or_repository(source, name):
    assert name_of(source) == name


def test_a_model_of_the_hub_loads_by_name(tiny, tmp_path, monkeypatch):
    folder = save(tmp_path / "model", tiny())
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repository, allow_patterns: folder)
    assert load("hf-hub:org/derm").embed_dim == 24
