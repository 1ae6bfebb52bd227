"""PanDerm's image tower, a CAE vision transformer, as a timm trunk that stock open_clip can build.

DermLIP_PanDerm-base-w-PubMed-256 and DermFM-Zero put it into an open_clip model under the names of CAE (Chen et al.,
Context Autoencoder, IJCV 2023): blocks ``x + gamma_1 * attn(norm1(x))``, ``x + gamma_2 * mlp(norm2(x))``, biases of
queries and values but none of keys, fixed sine and cosine positions, the mean of the patches through ``fc_norm`` (or
the class token after ``norm``), and a head with a bias (SiyuanYan1/Derm1M@92d8fa9 ``src/open_clip/utils.py``,
lxtGH/CAE@c67ce43). timm's deit3 does the same: keys get a bias of zero, which softmax cancels anyway, and its class
token has no position, so theirs is added to the token.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from dermis.towers.layouts.key_map import Entry, layer, same, translate
from dermis.towers.pixel_decoder import sine_cosine

TRUNKS = {(768, 12): "deit3_base_patch16_224", (1024, 24): "deit3_large_patch16_224"}
"""width and depth -> the timm model with that many heads of 64 channels"""
LEFT_OUT = ("visual.mask_token", "visual.decoder", "visual.teacher", "visual.regressor")
"""parts of the pre-training that some checkpoints still carry"""
THEIRS, OURS = "visual.", "visual.trunk."


def recognised(tensors: Mapping[str, Tensor]) -> bool:
    return f"{THEIRS}blocks.0.gamma_1" in tensors


def translated(
    model_cfg: dict[str, Any], tensors: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """``model_cfg`` with a timm image tower in the place of PanDerm's, and the tensors by open_clip's names.

    Raises ValueError, with a sentence, for a size that PanDerm does not have and for tensors that do not fit.
    """
    width = tensors[f"{THEIRS}blocks.0.gamma_1"].numel()
    depth = 1 + max(int(k.split(".")[2]) for k in tensors if k.startswith(f"{THEIRS}blocks."))
    if (width, depth) not in TRUNKS:
        sizes = ", ".join(f"{w} wide with {d} layers" for w, d in TRUNKS)
        raise ValueError(f"{source} has a CAE image tower {width} wide with {depth} layers; known are {sizes}.")
    pooled_mean = f"{THEIRS}fc_norm.weight" in tensors
    model_cfg = deepcopy(model_cfg)
    model_cfg["vision_cfg"] = {
        "timm_model_name": TRUNKS[width, depth],
        "timm_pool": "avg" if pooled_mean else "token",
        "timm_proj": "",
        "image_size": model_cfg["vision_cfg"].get("image_size", 224),
    }
    visual = {k: v for k, v in tensors.items() if k.startswith(THEIRS)}
    if f"{THEIRS}pos_embed" not in visual:
        rows, columns = _grid(model_cfg["vision_cfg"]["image_size"], visual)
        visual[f"{THEIRS}pos_embed"] = torch.cat([torch.zeros(1, width), _positions(rows, columns, width)])[None]
    rest = {k: v for k, v in tensors.items() if not k.startswith(THEIRS)}
    return model_cfg, rest | translate(_entries(depth, pooled_mean), visual, source, LEFT_OUT)


def _entries(depth: int, pooled_mean: bool) -> Iterator[Entry]:
    class_and_position = (f"{THEIRS}cls_token", f"{THEIRS}pos_embed")
    yield f"{OURS}cls_token", class_and_position, lambda token, positions: token + positions[:, :1]
    yield f"{OURS}pos_embed", (f"{THEIRS}pos_embed",), lambda positions: positions[:, 1:]
    yield from layer(f"{OURS}patch_embed.proj", f"{THEIRS}patch_embed.proj")
    for n in range(depth):
        ours, theirs = f"{OURS}blocks.{n}.", f"{THEIRS}blocks.{n}."
        yield same(f"{ours}attn.qkv.weight", f"{theirs}attn.qkv.weight")
        biases = (f"{theirs}attn.q_bias", f"{theirs}attn.v_bias")
        yield f"{ours}attn.qkv.bias", biases, lambda q, v: torch.cat([q, torch.zeros_like(q), v])
        for part in ("norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2"):
            yield from layer(ours + part, theirs + part)
        yield same(f"{ours}ls1.gamma", f"{theirs}gamma_1")
        yield same(f"{ours}ls2.gamma", f"{theirs}gamma_2")
    norm = "fc_norm" if pooled_mean else "norm"
    yield from layer(OURS + norm, THEIRS + norm)
    yield from layer(f"{OURS}head", f"{THEIRS}head")


def _grid(size: int | list[int], visual: Mapping[str, Tensor]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    patch = visual[f"{THEIRS}patch_embed.proj.weight"].shape[-1]
    return height // patch, width // patch


def _positions(rows: int, columns: int, width: int) -> Tensor:
    """CAE's fixed positions (rows x columns, width): MAE's, but the row's half before the column's (lxtGH/CAE@c67ce43,
    whose "w" is what runs slowest)."""
    of_column, of_row = sine_cosine(rows, columns, width).chunk(2, dim=1)
    return torch.cat([of_row, of_column], dim=1)
