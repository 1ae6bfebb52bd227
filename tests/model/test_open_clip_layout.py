"""dermis writes, stock open_clip reads, and the other way round: the same features."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from dermis.model import load, save
from dermis.model.look import evaluation_view
from dermis.model.open_clip_layout import loading_note, why_not
from dermis.towers.build import TextTowerConfig

TEXTS = ["a photo of melanoma", "nevus", "", " ".join(["skin"] * 100)]
WRITTEN = {
    "vit_token": {"name": "test_vit"},
    "vit_avg": {"name": "test_vit", "pool": "avg"},
    "conv": {"name": "test_efficientnet"},
    "normed_conv": {"name": "test_convnext", "logit_bias_init": -10.0},
    "no_head": {"name": "test_resnet", "head": "none", "embed_dim": 96, "text": TextTowerConfig(width=96, layers=1)},
    "other_size": {"name": "test_vit", "size": 96},
}


@pytest.mark.parametrize("settings", WRITTEN.values(), ids=WRITTEN)
def test_stock_open_clip_gives_the_features_of_a_model_saved_by_dermis(settings, tiny, tmp_path, ragged):
    model = tiny(**settings)
    assert why_not(model) is None
    save(tmp_path / "model", model)
    size = model.image.transform.size[0]
    more = {"force_image_size": 96} if settings.get("size") else {}
    assert loading_note(model) == ("force_image_size=96" if more else None)
    stock, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'model'}", **more)
    image_BCHW = torch.randn(2, 3, size, size)
    tokens_SL = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'model'}")(TEXTS)
    with torch.no_grad():
        theirs = stock.eval().encode_image(image_BCHW), stock.encode_text(tokens_SL)
        text = ragged(model.text.tokenizer(TEXTS))
        torch.testing.assert_close(model.encode_image(image_BCHW), theirs[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.encode_text(*text), theirs[1], rtol=1e-5, atol=1e-5)
        loaded = load(tmp_path / "model")
        assert loaded.encode_image(image_BCHW).equal(model.encode_image(image_BCHW))
        assert loaded.encode_text(*text).equal(model.encode_text(*text))
    assert stock.logit_scale.item() == model.logit_scale.item()
    assert (stock.logit_bias is None) == (model.logit_bias is None)
    if model.logit_bias is not None:
        assert stock.logit_bias.item() == model.logit_bias.item()
    assert tuple(transform.transforms[-1].mean) == model.image.transform.mean
    assert tuple(transform.transforms[1].size) == (size, size)


STOCK = {
    "clip": {},
    "quick_gelu": {"quick_gelu": True},
    "timm": {"vision_cfg": {"timm_model_name": "test_resnet", "timm_proj": "mlp", "image_size": 160}},
    "siglip": {"custom_text": True, "init_logit_bias": -10}
    | {"text_cfg": {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}},
    "coca": {
        "custom_text": True,
        "vision_cfg": {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
}


@pytest.mark.parametrize("changes", STOCK.values(), ids=STOCK)
def test_a_stock_folder_loads_in_dermis_and_goes_back(changes, open_clip_folder, tmp_path, ragged):
    folder, stock, _ = open_clip_folder(**changes)
    ours = load(folder)
    save(tmp_path / "again", ours)
    assert json.loads((tmp_path / "again" / "dermis.json").read_text())["kind"] == "open_clip"
    back = open_clip.create_model(f"local-dir:{tmp_path / 'again'}").eval()
    reloaded = load(tmp_path / "again")
    size = ours.image.transform.size[0]
    image_BCHW = torch.randn(2, 3, size, size)
    tokens_SL = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    with torch.no_grad():
        expected = normalize(stock.encode_image(image_BCHW), dim=-1), normalize(stock.encode_text(tokens_SL), dim=-1)
        text = ragged(ours.text.tokenizer(TEXTS))
        for image_BE, text_SE in (
            (ours.encode_image(image_BCHW), ours.encode_text(*text)),
            (reloaded.encode_image(image_BCHW), reloaded.encode_text(*text)),
            (back.encode_image(image_BCHW), back.encode_text(tokens_SL)),
        ):
            torch.testing.assert_close(normalize(image_BE, dim=-1), expected[0], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(normalize(text_SE, dim=-1), expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_evaluation_sees_what_stock_open_clip_sees(open_clip_folder, mode):
    folder, _, _ = open_clip_folder()
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["resize_mode"] = mode
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    picture_HWC = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
    ours = torch.from_numpy(evaluation_view(picture_HWC, load(folder).image.transform))
    torch.testing.assert_close(ours, transform(Image.fromarray(picture_HWC)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"pool": "token+avg"}, "open_clip has no pooling 'token\\+avg'"),
        ({"head": "mlp"}, "no head of two layers"),
        ({"name": "mobilenetv3_small_050"}, "does not know the pooled width"),
    ],
)
def test_what_open_clip_cannot_build_keeps_our_names_and_the_card_says_so(tiny, tmp_path, settings, reason):
    model = tiny(**settings)
    folder = save(tmp_path / "model", model)
    assert not (folder / "open_clip_config.json").exists()
    assert "Stock open_clip cannot load it" in (folder / "README.md").read_text()
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(why_not(model))
    image_BCHW = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(load(folder).encode_image(image_BCHW), model.encode_image(image_BCHW))
