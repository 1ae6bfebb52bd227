import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dermis import torchvision_operators  # noqa: F401 (before timm, open_clip and transformers)
from dermis.cases.manifest import Manifest
from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_two_tower


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def ragged():
    """Lists of token ids -> flat tokens and bounds."""

    def make(ids):
        tokens = torch.tensor([token for text in ids for token in text], dtype=torch.int64)
        return tokens, torch.tensor([0, *map(len, ids)]).cumsum(0)

    return make


@pytest.fixture
def tiny():
    """A two-tower model that builds in a moment, no weight of it zero or one."""

    def make(name="test_vit", size=None, pool=None, text=None, **changes):
        config = TwoTowerConfig(
            image=ImageTowerConfig(name=name, size=size, pool=pool),
            text=text or TextTowerConfig(width=32, layers=2, heads=2, context_length=16),
            **{"embed_dim": 24} | changes,
        )
        model = build_two_tower(config, seed=1)
        for p in model.parameters():
            p.data += 0.05 * torch.randn_like(p)
        return model.eval()

    return make


@pytest.fixture
def pictures(tmp_path):
    """A manifest of six pictures, the fourth of them no picture, the fifth missing, the sixth the first again."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        small = Image.fromarray(rng.integers(0, 255, (6, 9, 3), dtype=np.uint8))
        small.resize((270 + i, 180), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=95)
    (folder / "3.jpg").write_text("no picture")
    names = ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "0.jpg"]
    return Manifest.build(pd.DataFrame({"case_id": list("abcdef"), "image": names}), folder)


@pytest.fixture
def open_clip_folder(tmp_path):
    """A folder as open_clip's own publishing code writes it, of a tiny model with random weights."""
    import open_clip
    from safetensors.torch import save_file

    def make(**changes):
        model_cfg = {
            "embed_dim": 24,
            "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
            "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
        }
        for name, change in changes.items():
            model_cfg[name] = model_cfg[name] | change if isinstance(model_cfg.get(name), dict) else change
        folder = tmp_path / f"published-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        preprocess = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic"}
        config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess | {"resize_mode": "squash"}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        stock, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}", load_weights=False)
        for p in stock.parameters():
            p.data += 0.05 * torch.randn_like(p)
        save_file(stock.state_dict(), folder / "open_clip_model.safetensors")
        return folder, stock.eval(), transform

    return make
