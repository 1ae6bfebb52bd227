import json

import pytest
import torch

from dermis import torchvision_operators  # noqa: F401 (before timm, open_clip and transformers)


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
def open_clip_folder(tmp_path):
    """A folder as open_clip's own publishing code writes it, of a tiny model with random weights."""
    open_clip = pytest.importorskip("open_clip")
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
        preprocess["resize_mode"] = "squash"
        config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        stock, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}", load_weights=False)
        for p in stock.parameters():  # no zeros and ones that would hide a mix-up
            p.data += 0.05 * torch.randn_like(p)
        save_file(stock.state_dict(), folder / "open_clip_model.safetensors")
        return folder, stock.eval(), transform

    return make
