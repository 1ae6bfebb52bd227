"""Folders of open_clip's forks: MAKE and DermLIP, whose settings stock open_clip refuses."""

import json

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from dermis.model import load, save
from dermis.towers import weights
from dermis.towers.published import TRAINED_WITH_QUICK_GELU

FORKS = {"patch_embeddings": True, "sigma": 0.3, "pretrain_path": "data/weights.pth"}


def settings_of(folder):
    return json.loads((folder / "open_clip_config.json").read_text())


@pytest.fixture
def make_folder(open_clip_folder):
    """A tiny MAKE: its settings and CLIP's names of tensors, text tower at the top; the folder and stock's model."""

    def make(**changes):
        folder, stock, _ = open_clip_folder(**changes)
        settings = settings_of(folder)
        settings["model_cfg"]["vision_cfg"] |= FORKS
        (folder / "open_clip_config.json").write_text(json.dumps(settings))
        return folder, stock

    return make


def encoded(model):
    with torch.no_grad():
        return model.encode_image(torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32))


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_settings_of_forks_are_accepted_and_said(make_folder, tmp_path, quick_gelu, caplog):
    folder, stock = make_folder(quick_gelu=quick_gelu)
    assert not any(name.startswith("text.") for name in load_file(folder / "open_clip_model.safetensors"))
    with pytest.raises(TypeError, match="patch_embeddings"):
        open_clip.create_model(f"local-dir:{folder}")
    ours = load(folder)
    assert all(f"vision_cfg.{name}: " in caplog.text for name in FORKS)
    assert "activation" not in caplog.text
    torch.testing.assert_close(encoded(ours), encoded(stock), rtol=1e-5, atol=1e-5)
    again = save(tmp_path / "again", ours)
    assert not set(FORKS) & set(settings_of(again)["model_cfg"]["vision_cfg"])
    assert settings_of(again)["model_cfg"]["quick_gelu"] is quick_gelu
    torch.testing.assert_close(encoded(open_clip.create_model(f"local-dir:{again}").eval()), encoded(ours))


def test_settings_that_nobody_has_documented_are_refused(make_folder):
    folder, _ = make_folder()
    settings = settings_of(folder)
    settings["model_cfg"]["vision_cfg"]["moe_experts"] = 8
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"vision_cfg\.moe_experts that open_clip does not know"):
        load(folder)
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(ValueError, match="has no 'model_cfg'"):
        load(folder)


@pytest.mark.parametrize("name", [*TRAINED_WITH_QUICK_GELU, "somebody/else"])
def test_quick_gelu_that_is_not_said_is_known_or_said_to_be_guessed(make_folder, name, monkeypatch, caplog):
    folder, _ = make_folder()
    quick, exact = encoded(load(folder, quick_gelu=True)), encoded(load(folder, quick_gelu=False))
    assert (quick - exact).abs().max() > 1e-3
    assert "activation" not in caplog.text
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repository, allow_patterns: folder)
    known = name in TRAINED_WITH_QUICK_GELU
    assert encoded(load(f"hf-hub:{name}")).equal(quick if known else exact)
    assert (
        "QuickGELU is taken, with which it was trained" if known else "GELU is taken, as open_clip does"
    ) in caplog.text


def test_quick_gelu_without_effect_is_an_error(tiny, tmp_path):
    folder = save(tmp_path / "model", tiny())
    with pytest.raises(ValueError, match="no open_clip model, whose activation"):
        load(folder, quick_gelu=True)


def test_a_missing_a_surplus_and_a_misshapen_tensor_are_named(make_folder):
    folder, _ = make_folder(quick_gelu=True)
    path = folder / "open_clip_model.safetensors"
    tensors = load_file(path)
    proj = tensors.pop("visual.proj")
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"1 missing \(visual\.proj\)"):
        load(folder)
    save_file(tensors | {"visual.proj": proj[1:]}, path)
    with pytest.raises(ValueError, match=r"1 of another shape \(visual\.proj \(63, 24\) for \(64, 24\)\)"):
        load(folder)
    save_file(tensors | {"visual.proj": proj, "visual.head.weight": proj.clone()}, path)
    with pytest.raises(ValueError, match=r"1 left over \(visual\.head\.weight\)"):
        load(folder)


def test_pickles_of_the_hub_are_fetched_only_where_there_is_nothing_else(make_folder, monkeypatch):
    folder, stock = make_folder(quick_gelu=True)
    asked = []

    def snapshot_download(repository, allow_patterns):
        asked.append("*.bin" in allow_patterns)
        return folder

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    load("hf-hub:org/derm")
    assert True not in asked
    (folder / "open_clip_model.safetensors").unlink()
    torch.save(stock.state_dict(), folder / "open_clip_pytorch_model.bin")
    torch.testing.assert_close(encoded(load("hf-hub:org/derm")), encoded(stock), rtol=1e-5, atol=1e-5)
    assert True in asked


def test_which_of_several_files_is_meant_is_not_guessed(make_folder):
    folder, _ = make_folder()
    (folder / "open_clip_model.safetensors").rename(folder / "epoch_15.safetensors")
    assert weights.find_checkpoint(folder).name == "epoch_15.safetensors"
    (folder / "epoch_14.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"several files of weights \(epoch_14\.pt, epoch_15\.safetensors\)"):
        load(folder)
    (folder / "epoch_15.safetensors").unlink()
    with pytest.raises(ValueError, match="is damaged, or holds more than tensors"):
        load(folder)


def test_make_at_its_size_has_the_published_tensors():
    """302 tensors, 149.62 million numbers, 512 wide: OpenAI's ViT-B/16 layout."""
    with torch.device("meta"):
        clip = open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-16"))
        custom = open_clip.CustomTextCLIP(**open_clip.get_model_config("ViT-B-16"))
    names = open_clip.model.convert_to_custom_text_state_dict(clip.state_dict())
    assert {k: v.shape for k, v in names.items()} == {k: v.shape for k, v in custom.state_dict().items()}
    assert len(names) == 302
    assert round(sum(v.numel() for v in names.values()) / 1e6, 2) == 149.62
    assert clip.state_dict()["visual.positional_embedding"].shape == (197, 768)
