"""Whole open_clip models, tiny ones, against open_clip itself."""

import open_clip
import pytest
import torch

from dermis.towers.open_clip import check_quick_gelu, open_clip_two_tower

TEXTS = ["a photo of melanoma", "nevus", "", " ".join(["skin"] * 100)]
COCA = {
    "custom_text": True,
    "vision_cfg": {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": {"embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
SIGLIP = {
    "custom_text": True,
    "init_logit_bias": -10,
    "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear", "image_size": 160},
    "text_cfg": {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}
MODELS = {
    "clip": {},
    "quick_gelu": {"quick_gelu": True},
    "late_norm": {"vision_cfg": {"pool_type": "avg", "final_ln_after_pool": True}},
    "resnet": {"vision_cfg": {"layers": [1, 1, 1, 1], "width": 16}},
    "siglip": SIGLIP,
    "coca": COCA,
    "mlp": {"vision_cfg": {"timm_model_name": "test_resnet", "timm_proj": "mlp", "image_size": 160}},
}


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_image_and_text_features_are_open_clips(changes, open_clip_folder, ragged):
    folder, stock, _ = open_clip_folder(**changes)
    ours = open_clip_two_tower(f"local-dir:{folder}").eval()
    size = ours.image.transform.size[0]
    image_BCHW, tokens_SL = torch.randn(2, 3, size, size), open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    with torch.no_grad():
        image_BE, text_SE = stock.encode_image(image_BCHW), stock.encode_text(tokens_SL)
        theirs = [torch.nn.functional.normalize(x, dim=-1) for x in (image_BE, text_SE)]  # CoCa's is normalised
        text = ragged(ours.text.tokenizer(TEXTS))
        torch.testing.assert_close(ours.encode_image(image_BCHW, normalize=True), theirs[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.encode_text(*text, normalize=True), theirs[1], rtol=1e-5, atol=1e-5)
    assert ours.logit_scale.item() == stock.logit_scale.item()
    assert (ours.logit_bias is None) == (stock.logit_bias is None)


@pytest.mark.parametrize("late_norm", [False, True])
def test_patches_project_like_open_clips_tokens(open_clip_folder, late_norm):
    folder, stock, _ = open_clip_folder(vision_cfg={"final_ln_after_pool": late_norm})
    ours = open_clip_two_tower(f"local-dir:{folder}").eval()
    image_BCHW = torch.randn(2, 3, 32, 32)
    stock.visual.output_tokens = True
    with torch.no_grad():
        _, tokens_BPD = stock.visual(image_BCHW)
        tokens_BPD = stock.visual.ln_post(tokens_BPD) if late_norm else tokens_BPD
        torch.testing.assert_close(ours.encode_patches(image_BCHW), tokens_BPD @ stock.visual.proj)
    assert ours.image.features(image_BCHW).grid == (4, 4)


def test_the_transform_is_the_folders(open_clip_folder):
    folder, _, _ = open_clip_folder()
    transform = open_clip_two_tower(f"local-dir:{folder}").image.transform
    assert transform.mean == (0.4, 0.5, 0.6)
    assert (transform.size, transform.resize_mode) == ((32, 32), "squash")


def test_quick_gelu_changes_the_features_and_is_never_guessed(open_clip_folder):
    folder, stock, _ = open_clip_folder()
    image_BCHW = torch.randn(1, 3, 32, 32)
    quick = open_clip_two_tower(f"local-dir:{folder}", quick_gelu=True).eval()
    with torch.no_grad():
        assert (quick.encode_image(image_BCHW) - stock.encode_image(image_BCHW)).abs().max() > 1e-3
    assert quick.config.model_cfg["quick_gelu"] is True
    with pytest.raises(ValueError, match="set quick_gelu: true"):
        check_quick_gelu("ViT-B-16", "openai", quick_gelu=False)
    check_quick_gelu("ViT-B-16", "openai", quick_gelu=True)


def test_another_picture_size_resamples_the_position_embedding(open_clip_folder):
    folder, _, _ = open_clip_folder()
    ours = open_clip_two_tower(f"local-dir:{folder}", size=48).eval()
    stock = open_clip.create_model(f"local-dir:{folder}", force_image_size=48).eval()
    image_BCHW = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(ours.encode_image(image_BCHW), stock.encode_image(image_BCHW))
    assert ours.config.model_cfg["vision_cfg"]["image_size"] == 48


def test_wrong_names_and_weights_are_sentences(open_clip_folder):
    with pytest.raises(ValueError, match="Did you mean 'ViT-B-32'"):
        open_clip_two_tower("ViT-B-33")
    folder, _, _ = open_clip_folder()
    with pytest.raises(ValueError, match="brings its own weights"):
        open_clip_two_tower(f"local-dir:{folder}", weights="openai")
    with pytest.raises(ValueError, match="open_clip cannot make RN50: Pretrained value 'nothing'"):
        open_clip_two_tower("RN50", weights="nothing")
    timm_folder, _, _ = open_clip_folder(**SIGLIP)
    with pytest.raises(ValueError, match="timm image tower"):
        open_clip_two_tower(f"local-dir:{timm_folder}", size=96)
