"""Two towers in open_clip's own layout: names of tensors and open_clip_config.json, so that one file serves both.

A model folder holds one weights file. Where the model is one that stock open_clip can build (a timm trunk with its own
pooling beside the built-in text tower, or a model that came from open_clip), the tensors carry the names of open_clip's
``CustomTextCLIP`` and two projections are stored transposed; dermis renames them while reading. Everything else is
stored under dermis's own names, and stock open_clip cannot load it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from timm.layers import Mlp
from torch import Tensor, nn

from dermis.towers.build import TwoTowerConfig
from dermis.towers.image import ImageTower
from dermis.towers.open_clip import OpenClipSettings
from dermis.towers.text import TextTower
from dermis.towers.two_tower import TwoTower


def why_not(model: nn.Module) -> str | None:
    """Why stock open_clip cannot build ``model``, as half a sentence; None if it can."""
    if not isinstance(model, TwoTower):
        return "it is not a two-tower model"
    if isinstance(model.config, OpenClipSettings):
        return _beyond_stock(model)
    if not isinstance(model.config, TwoTowerConfig) or not isinstance(model.image, ImageTower):
        return "its image tower is not a timm model"
    if not isinstance(model.text, TextTower):
        return "its text tower is not open_clip's"
    trunk, size = model.image.trunk, model.image.transform.size
    if model.image.pool == "token+avg":
        return "open_clip has no pooling 'token+avg'"
    if not isinstance(model.image_head, nn.Linear | nn.Identity):
        return "open_clip's text tower has no head of two layers"
    if model.generator is not None:
        return "open_clip does not know its generator"
    if trunk.num_features != model.image.dim:
        return f"open_clip does not know the pooled width of {model.config.image.name}"
    if size != native_size(trunk) and trunk.pretrained_cfg["fixed_input_size"] and not is_dynamic(trunk):
        return f"open_clip builds {model.config.image.name} for its own picture size only"
    return None


def _beyond_stock(model: TwoTower) -> str | None:
    """What of an open_clip model came from another layout (``dermis.towers.layouts``) and open_clip cannot say."""
    vision_cfg, text_cfg = model.config.model_cfg["vision_cfg"], model.config.model_cfg["text_cfg"]
    if text_cfg.get("attends_padding"):
        return "open_clip masks the padding that its text tower attends to"
    if "timm_model_name" not in vision_cfg:
        return None
    if "act_kwargs" in vision_cfg:
        return "open_clip has no other activation for a timm trunk than its own"
    size = model.image.transform.size
    if size != native_size(model.image.trunk) and not is_dynamic(model.image.trunk):
        return f"open_clip builds {vision_cfg['timm_model_name']} for its own picture size only"
    return None


def native_size(trunk: nn.Module) -> tuple[int, int]:
    """Height and width that timm builds ``trunk`` for."""
    return tuple(trunk.pretrained_cfg["input_size"][1:])


def is_dynamic(trunk: nn.Module) -> bool:
    """Does the trunk resample its position embedding in each pass, so that its weights keep their native shape?"""
    return bool(getattr(trunk, "dynamic_img_size", False))


def loading_note(model: TwoTower) -> str | None:
    """What a user of stock open_clip has to add to ``create_model_and_transforms``, if anything."""
    if not isinstance(model.image, ImageTower) or isinstance(model.config, OpenClipSettings):
        return None
    size = model.image.transform.size
    if size == native_size(model.image.trunk) or not is_dynamic(model.image.trunk):
        return None
    return f"force_image_size={size[0]}"


def settings_of(model: TwoTower) -> dict[str, Any]:
    """The contents of open_clip_config.json. The model must be one that open_clip can build (``why_not``)."""
    bias = {} if model.logit_bias is None else {"init_logit_bias": 0.0}
    if isinstance(model.config, OpenClipSettings):
        cfg = {k: v for k, v in model.config.model_cfg.items() if k != "init_logit_bias"} | bias
        return {"model_cfg": cfg, "preprocess_cfg": model.config.preprocess_cfg}
    transform, encoder = model.image.transform, model.text.encoder
    projection = "none" if isinstance(model.image_head, nn.Identity) else "linear"
    model_cfg = {
        "embed_dim": model.embed_dim,
        "vision_cfg": {
            "timm_model_name": model.config.image.name,
            "timm_pool": model.image.pool,
            "timm_proj": projection,
            "image_size": list(transform.size),
        },
        "text_cfg": {
            "context_length": encoder.context_length,
            "vocab_size": encoder.vocab_size,
            "width": encoder.width,
            "heads": encoder.heads,
            "layers": encoder.transformer.layers,
            "proj_type": projection,
        },
        "custom_text": True,
        "quick_gelu": False,
    }
    preprocess_cfg = {
        "size": list(transform.size),
        "mode": "RGB",
        "mean": list(transform.mean),
        "std": list(transform.std),
        "interpolation": transform.interpolation,
        "resize_mode": transform.resize_mode,
        "fill_color": 0,
    }
    return {"model_cfg": model_cfg | bias, "preprocess_cfg": preprocess_cfg}


def _names(model: TwoTower) -> Iterator[tuple[str, str, bool]]:
    """(our prefix, open_clip's, is the tensor transposed), the more special ones first."""
    if isinstance(model.image, ImageTower):
        yield "image.trunk.", "visual.trunk.", False
        if isinstance(model.config, OpenClipSettings) and model.config.model_cfg["vision_cfg"].get("timm_proj") == "":
            yield "image_head.", "visual.trunk.head.", False
        else:
            yield "image_head.", "visual.head.mlp." if isinstance(model.image_head, Mlp) else "visual.head.proj.", False
    else:
        yield "image.encoder.", "visual.", False
        yield "image_head.weight", "visual.proj", True
    yield "text.encoder.", "text.", False
    if isinstance(model.text.encoder, HFTextEncoder):
        yield "text_head.", "text.proj.", False
    elif getattr(model.text_head, "bias", None) is not None:
        yield "text_head.", "text.text_projection.", False
    else:
        yield "text_head.weight", "text.text_projection", True
    yield "logit_", "logit_", False


def to_open_clip(model: TwoTower) -> dict[str, Tensor]:
    """The model's tensors under open_clip's names."""
    renamed = {}
    for key, tensor in model.state_dict().items():
        ours, theirs, transposed = next(rule for rule in _names(model) if key.startswith(rule[0]))
        renamed[theirs + key.removeprefix(ours)] = tensor.T if transposed else tensor
    return renamed


def from_open_clip(model: TwoTower, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under open_clip's names under those of ``model``; unknown names stay, for strict loading to report."""
    # the longest of their prefixes that fits: text.text_projection is not a part of text.
    rules = sorted(_names(model), key=lambda rule: -len(rule[1]))
    renamed = {}
    for key, tensor in tensors.items():
        rule = next((rule for rule in rules if key.startswith(rule[1])), None)
        if rule is None:
            renamed[key] = tensor
        else:
            renamed[rule[0] + key.removeprefix(rule[1])] = tensor.T if rule[2] else tensor
    return renamed


def contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors wants them: on the CPU, each with its own memory."""
    return {
        k: torch.empty_like(t, device="cpu", memory_format=torch.contiguous_format).copy_(t) for k, t in tensors.items()
    }
