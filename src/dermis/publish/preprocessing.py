"""How pictures and texts become what the ONNX graphs take, as plain JSON: whoever runs them may not have dermis."""

from typing import Any

from torch import nn

from dermis.model.look import picture_towers
from dermis.towers import Transform
from dermis.towers.text import BytePairTokenizer, TextTower
from dermis.towers.two_tower import TwoTower


def preprocessing(model: nn.Module) -> dict[str, Any]:
    """Graph -> what is done before it, and the scale of the cosines of two towers."""
    found: dict[str, Any] = {column: _picture(tower.transform) for column, tower in picture_towers(model).items()}
    if isinstance(model, TwoTower):
        found["logit_scale"] = model.logit_scale.exp().item()
        if type(model.text) is TextTower:
            found["text"] = _text(model.text)
    return found


def _picture(transform: Transform) -> dict[str, Any]:
    height, width = transform.size
    if transform.resize_mode == "squash":
        steps = [f"resize to {width} x {height} (width x height), whatever the aspect"]
    else:
        shorter = int(height / transform.crop_ratio)
        steps = [f"resize so that the shorter side has {shorter} pixels", f"cut out the central {width} x {height}"]
    return {
        "layout": "NCHW, float32, RGB, upright (EXIF orientation applied)",
        "size": [height, width],
        "interpolation": transform.interpolation,
        "antialias": True,
        "resize_mode": transform.resize_mode,
        "crop_ratio": transform.crop_ratio,
        "scale": 1 / 255,
        "mean": list(transform.mean),
        "std": list(transform.std),
        "steps": [*steps, "value x scale, minus mean, over std"],
    }


def _text(tower: TextTower) -> dict[str, Any]:
    clip = isinstance(tower.tokenizer, BytePairTokenizer)
    return {
        "tokenizer": "CLIP's byte pairs (open_clip.tokenizer.SimpleTokenizer)" if clip else "the model's own files",
        "tokens": "int64 (batch, length): start token, text, end token; shorter texts padded at the end by any id",
        "lengths": "int64 (batch,): tokens of each text, start and end included",
        "context_length": tower.encoder.context_length,
    }
