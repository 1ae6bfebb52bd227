"""CLIP and SigLIP folders of transformers, tiny ones, against transformers itself."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch.testing import assert_close

from dermis.model import load, save
from dermis.model.open_clip_layout import why_not
from dermis.towers.layouts import transformers_clip, transformers_siglip
from dermis.towers.layouts.key_map import translate
from dermis.towers.published import HFTokenizer

transformers = pytest.importorskip("transformers")
TEXTS = ["a photo of melanoma", "nevus", "", " ".join(["skin"] * 100)]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 72}


def perturbed(model):
    for p in model.parameters():  # no zeros and ones that would hide a mix-up
        p.data += 0.1 * torch.randn_like(p)
    return model.eval()


def change(folder, name, settings):
    """Settings of a JSON file of the folder, replaced."""
    path = folder / name
    old = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(old | settings))


@pytest.fixture
def clip_folder(tmp_path):
    """A folder as CLIPModel.save_pretrained writes it, and the model."""

    def make(act="quick_gelu", **text):
        config = transformers.CLIPConfig(
            text_config=SIZE | {"hidden_act": act, "vocab_size": 49408, "eos_token_id": 2} | text,
            vision_config=SIZE | {"hidden_size": 48, "image_size": 32, "patch_size": 8, "hidden_act": act},
            projection_dim=24,
        )
        model = perturbed(transformers.CLIPModel(config))
        model.save_pretrained(tmp_path / "clip")
        preprocessor = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}
        preprocessor |= {"resample": 2, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
        change(tmp_path / "clip", "preprocessor_config.json", preprocessor)
        return tmp_path / "clip", model

    return make


def embeddings(model, image_BCHW, ragged):
    with torch.no_grad():
        return model.encode_image(image_BCHW), model.encode_text(*ragged(model.text.tokenizer(TEXTS)))


def padded(ids, length, pad):
    return torch.tensor([text + [pad] * (length - len(text)) for text in ids])


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_a_clip_of_transformers_gives_its_features(clip_folder, ragged, act):
    folder, theirs = clip_folder(act)
    ours = load(folder)
    image_BCHW = torch.randn(2, 3, 32, 32)
    ids = ours.text.tokenizer(TEXTS)
    assert [len(text) for text in ids] == [6, 4, 2, 77]
    assert (ids[0][0], ids[0][-1]) == (49406, 49407)
    with torch.no_grad():
        image_BE = theirs.get_image_features(image_BCHW).pooler_output
        text_SE = theirs.get_text_features(padded(ids, 77, 49407)).pooler_output
    mine = embeddings(ours, image_BCHW, ragged)
    assert_close(mine[0], image_BE, rtol=1e-5, atol=1e-5)
    assert_close(mine[1], text_SE, rtol=1e-5, atol=1e-5)
    assert ours.logit_scale.item() == theirs.logit_scale.item()
    assert ours.config.model_cfg["quick_gelu"] is (act == "quick_gelu")
    transform = ours.image.transform
    assert (transform.size, transform.mean, transform.interpolation) == ((32, 32), (0.4, 0.5, 0.6), "bilinear")


def test_a_clip_of_transformers_becomes_one_of_stock_open_clip(clip_folder, tmp_path, ragged):
    import open_clip

    folder, _ = clip_folder()
    ours = load(folder)
    again = save(tmp_path / "again", ours)
    image_BCHW = torch.randn(2, 3, 32, 32)
    stock = open_clip.create_model(f"local-dir:{again}").eval()
    with torch.no_grad():
        assert_close(stock.encode_image(image_BCHW), ours.encode_image(image_BCHW), rtol=1e-5, atol=1e-5)
    for mine, saved in zip(
        embeddings(ours, image_BCHW, ragged), embeddings(load(again), image_BCHW, ragged), strict=True
    ):
        assert mine.equal(saved)


def test_quick_gelu_can_be_set_against_the_settings(clip_folder):
    folder, _ = clip_folder("quick_gelu")
    image_BCHW = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        quick, exact = load(folder).encode_image(image_BCHW), load(folder, quick_gelu=False).encode_image(image_BCHW)
    assert (quick - exact).abs().max() > 1e-3


def test_a_missing_and_a_surplus_tensor_are_named(clip_folder):
    folder, _ = clip_folder()
    tensors = load_file(folder / "model.safetensors")
    position = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(tensors | position, folder / "model.safetensors")
    load(folder)
    save_file(tensors | {"vision_model.extra.weight": torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"do not fit their layout: 1 left over \(vision_model\.extra\.weight\)"):
        load(folder)
    del tensors["text_model.encoder.layers.1.self_attn.k_proj.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"1 missing \(text_model\.encoder\.layers\.1\.self_attn\.k_proj\.bias\)"):
        load(folder)


def test_settings_that_cannot_be_met_are_sentences(clip_folder, tmp_path):
    folder, _ = clip_folder()
    change(folder, "preprocessor_config.json", {"size": {"shortest_edge": 40}})
    with pytest.raises(ValueError, match="crops 32 of 40 pixels"):
        load(folder)
    (folder / "preprocessor_config.json").unlink()
    assert load(folder).image.transform.mean == (0.48145466, 0.4578275, 0.40821073)
    change(folder, "config.json", {"model_type": "blip"})
    with pytest.raises(ValueError, match="type 'blip'; two towers are read of clip and siglip"):
        load(folder)
    folder, _ = clip_folder("gelu_new")
    with pytest.raises(ValueError, match="both towers must have the same of quick_gelu, gelu"):
        load(folder)
    folder, _ = clip_folder(vocab_size=50)
    with pytest.raises(ValueError, match="has 50 tokens"):
        load(folder)


def test_monet_at_its_size_is_open_clips_vit_l_14():
    import open_clip

    vision = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    text = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision | {"patch_size": 14}, projection_dim=768)
    with torch.device("meta"):
        theirs = transformers.CLIPModel(config).state_dict()
        stock = open_clip.CustomTextCLIP(**open_clip.get_model_config("ViT-L-14-quickgelu")).state_dict()
    made = translate(transformers_clip._entries(24, 12), theirs, "MONET")
    assert {k: v.shape for k, v in made.items()} == {k: v.shape for k, v in stock.items()}


def test_pickles_are_read_as_tensors_only(clip_folder):
    folder, _ = clip_folder()
    expected = load(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": {f"module.{k}": v for k, v in tensors.items()}, "epoch": 3}, folder / "pytorch_model.bin")
    image_BCHW = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert load(folder).encode_image(image_BCHW).equal(expected.encode_image(image_BCHW))
    torch.save({"state_dict": tensors, "model": Exploding()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="holds more than tensors, which could run code"):
        load(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match="has no weights"):
        load(folder)


class Exploding:
    def __reduce__(self):
        return pytest.fail, ("the pickle was run",)


@register_model
def tiny_siglip(pretrained=False, num_classes=0, global_pool="map", **timms):
    size = {"embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 72.5 / 32, "patch_size": 8, "img_size": 24}
    model = VisionTransformer(**size, class_token=False, num_classes=num_classes, global_pool=global_pool)
    model.pretrained_cfg = {"input_size": (3, 24, 24), "fixed_input_size": True, "classifier": "head"}
    return model


@pytest.fixture
def siglip_folder(tmp_path, monkeypatch):
    """A folder as SiglipModel.save_pretrained writes it with a tokenizer of letters, and the model."""
    letters = [p + c for p in ("", "##") for c in "abcdefghijklmnopqrstuvwxyz"]
    monkeypatch.setitem(transformers_siglip.TRUNKS, (32, 2, 8), "tiny_siglip")

    def make(size=32):
        config = transformers.SiglipConfig(
            text_config=SIZE | {"vocab_size": 57, "pad_token_id": 0},
            vision_config=SIZE | {"image_size": size, "patch_size": 8},
        )
        model = perturbed(transformers.SiglipModel(config))
        model.save_pretrained(tmp_path / "siglip")
        (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]))
        transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "siglip")
        preprocessor = {"size": {"height": size, "width": size}, "resample": 3}
        preprocessor |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        change(tmp_path / "siglip", "preprocessor_config.json", preprocessor)
        return tmp_path / "siglip", model

    return make


def test_a_siglip_of_transformers_gives_its_features(siglip_folder, tmp_path, ragged):
    folder, theirs = siglip_folder()
    ours = load(folder)
    image_BCHW = torch.randn(2, 3, 32, 32)
    tokens_SL = HFTokenizer(str(folder), context_length=64)(TEXTS)
    assert tokens_SL.shape == (4, 64)
    assert max(map(len, ours.text.tokenizer(TEXTS))) == 64
    with torch.no_grad():
        image_BE = theirs.get_image_features(image_BCHW).pooler_output
        text_SE = theirs.get_text_features(tokens_SL).pooler_output
        patch_BPD = theirs.vision_model(image_BCHW).last_hidden_state
        assert_close(ours.image.features(image_BCHW).patch_BPD, patch_BPD, rtol=1e-5, atol=1e-5)
    saved = load(save(tmp_path / "again", ours))
    for model in (ours, saved):
        mine = embeddings(model, image_BCHW, ragged)
        assert_close(mine[0], image_BE, rtol=1e-5, atol=1e-5)
        assert_close(mine[1], text_SE, rtol=1e-5, atol=1e-5)
        assert model.logit_bias.item() == theirs.logit_bias.item()
        assert model.image.transform.resize_mode == "squash"
    assert "no other activation" in why_not(ours)
    assert not (tmp_path / "again" / "open_clip_config.json").exists()


def test_siglip_refuses_what_it_cannot_be(siglip_folder):
    folder, _ = siglip_folder()
    with pytest.raises(ValueError, match="no tower whose activation quick_gelu could set"):
        load(folder, quick_gelu=True)
    transformers_siglip.TRUNKS.pop((32, 2, 8))
    with pytest.raises(ValueError, match=r"width, depth and patch \(32, 2, 8\); known are"):
        load(folder)


@pytest.mark.parametrize("patch, size, name", [(14, 448, "siglip_384"), (16, 512, "siglip_512")])
def test_published_sizes_have_a_trunk_of_timm(patch, size, name):
    """MedSigLIP: SO400M with patches of 14, pictures of 448 pixels."""
    vision = {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16, "intermediate_size": 4304}
    config = transformers.SiglipVisionConfig(**vision, patch_size=patch, image_size=size)
    found = transformers_siglip._trunk(config, "folder")
    assert found.endswith(name)
    with torch.device("meta"):
        theirs = transformers.SiglipVisionModel(config)
        trunk = timm.create_model(found, num_classes=0, global_pool="map")
    entries = [entry for entry in transformers_siglip._entries(27, 0) if entry[0].startswith("visual.")]
    made = {
        ours.removeprefix("visual.trunk."): make(*(theirs.state_dict()[n.removeprefix("vision_model.")] for n in names))
        for ours, names, make in entries
    }
    shapes = {name: tensor.shape for name, tensor in made.items() if name != "pos_embed"}
    assert shapes == {name: tensor.shape for name, tensor in trunk.state_dict().items() if name != "pos_embed"}
