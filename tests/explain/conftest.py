"""Tiny models of pictures and texts, of pictures alone and of pairs, and a few pictures with something in them."""

import numpy as np
import pytest
import torch
from PIL import Image

from dermis import torchvision_operators  # noqa: F401 (before timm)
from dermis.explain import maps
from dermis.towers.build import (
    BranchesConfig,
    ImageTowerConfig,
    TextTowerConfig,
    TwoTowerConfig,
    build_branches,
    build_image_tower,
    build_two_tower,
)


def _with_life(model):
    """No weight of it zero or one, so that nothing in it is without effect."""
    torch.manual_seed(1)
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model.eval()


@pytest.fixture(scope="session")
def two_tower():
    """A model of pictures and texts with this image tower."""

    def make(**image):
        text = TextTowerConfig(width=32, layers=1, heads=2, context_length=16)
        image = {"name": "test_vit", "size": 64} | image
        return _with_life(build_two_tower(TwoTowerConfig(image=ImageTowerConfig(**image), text=text, embed_dim=24), 1))

    return make


@pytest.fixture(scope="session")
def tower():
    """An image tower alone."""

    def make(**image):
        return _with_life(build_image_tower(ImageTowerConfig(**{"name": "test_vit", "size": 64} | image)))

    return make


@pytest.fixture(scope="session")
def pair():
    """A model of a photograph and a dermoscopic picture."""

    def make(**image):
        config = BranchesConfig(image=ImageTowerConfig(**{"name": "test_vit", "size": 64} | image))
        return _with_life(build_branches(config, seed=1))

    return make


@pytest.fixture(scope="session")
def pictures():
    """Smooth coloured noise, uint8 (90, 120, 3), each its own."""

    def make(count):
        rng = np.random.default_rng(0)
        small = [Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)) for _ in range(count)]
        return [np.asarray(one.resize((120, 90), Image.Resampling.BICUBIC)) for one in small]

    return make


@pytest.fixture
def looks_at_brightness(monkeypatch):
    """Similarity maps are the brightness of the view, a value a pixel, whatever the model and its weights."""

    def brightness(model, view_CHW, texts):
        return np.repeat(view_CHW.mean(0)[None].numpy(), len(texts), axis=0)

    monkeypatch.setattr(maps, "similarity", brightness)


@pytest.fixture
def open_clip_model():
    """A tiny model of open_clip's own vision transformer."""
    import open_clip

    from dermis.towers.open_clip import two_tower_of

    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8, "head_width": 32}
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    made = open_clip.CustomTextCLIP(24, vision, text)
    made.visual.preprocess_cfg = {
        "size": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "squash",
    }  # fmt: skip
    settings = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    return _with_life(two_tower_of(made, open_clip.SimpleTokenizer(context_length=16), settings))
