"""SigLIP in the names of transformers: SigLIP, SigLIP 2 at fixed size, MedSigLIP.

The image tower is timm's, with the tanh form of GELU where the settings say so (as they do of all published ones; the
first SigLIPs of timm and stock open_clip take the exact form, which moves features by about 1e-3). Texts are 64 tokens,
padding included, and are read at the last place.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from dermis.towers.layouts import Layout
from dermis.towers.layouts.key_map import Entry, layer, same, scalar, stacked, translate
from dermis.towers.layouts.transformers_clip import (
    LEFT_OUT,
    load_config,
    read_preprocessing,
    text_entries,
    text_settings,
)
from dermis.towers.weights import find_checkpoint, read_checkpoint

TRUNKS = {
    (768, 12, 32): "vit_base_patch32_siglip_256",
    (768, 12, 16): "vit_base_patch16_siglip_224",
    (1024, 24, 16): "vit_large_patch16_siglip_256",
    (1152, 27, 14): "vit_so400m_patch14_siglip_384",
    (1152, 27, 16): "vit_so400m_patch16_siglip_384",
    (1536, 40, 16): "vit_giantopt_patch16_siglip_256",
}
"""width, depth and side of a patch -> a timm model of that size, in one of its picture sizes"""
PREPROCESSING = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash", "interpolation": "bicubic"}
"""how SigLIP sees pictures where its files do not say it (transformers' SiglipImageProcessor)"""
ACTIVATIONS = {"gelu_pytorch_tanh": {"approximate": "tanh"}, "gelu": {"approximate": "none"}}


def read(folder: Path) -> Layout:
    """Settings, preprocessing and weights of a ``SiglipModel``; needs transformers.

    Raises ValueError, with a sentence, for tensors that do not fit and for sizes that SigLIP was not published in.
    """
    config = load_config(folder, "SiglipConfig")
    vision, text = config.vision_config, config.text_config
    for tower in (vision, text):
        if tower.hidden_act not in ACTIVATIONS:
            raise ValueError(f"{folder} has the activation {tower.hidden_act!r}; known: {', '.join(ACTIVATIONS)}.")
    model_cfg = {
        "embed_dim": text.projection_size,
        "init_logit_bias": 0.0,
        "vision_cfg": {
            "timm_model_name": _trunk(vision, folder),
            "timm_pool": "map",
            "timm_proj": "none",
            "image_size": vision.image_size,
            "act_kwargs": ACTIVATIONS[vision.hidden_act],
        },
        "text_cfg": text_settings(text)
        | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "act_kwargs": ACTIVATIONS[text.hidden_act]}
        | {"hf_tokenizer_name": "siglip"},
        "custom_text": True,
    }
    tensors = read_checkpoint(find_checkpoint(folder))
    entries = _entries(vision.num_hidden_layers, text.num_hidden_layers)
    return Layout(
        model_cfg, read_preprocessing(folder, PREPROCESSING), translate(entries, tensors, str(folder), LEFT_OUT)
    )


def _trunk(vision: Any, folder: Path) -> str:
    size = vision.hidden_size, vision.num_hidden_layers, vision.patch_size
    if size not in TRUNKS:
        known = ", ".join(str(size) for size in TRUNKS)
        raise ValueError(f"{folder} has an image tower of width, depth and patch {size}; known are {known}.")
    name = TRUNKS[size]
    own_size = f"{name.rpartition('_')[0]}_{vision.image_size}"
    return own_size if timm.is_model(own_size) else name


def _entries(vision_layers: int, text_layers: int) -> Iterator[Entry]:
    trunk, vision = "visual.trunk.", "vision_model."
    yield from layer(f"{trunk}patch_embed.proj", f"{vision}embeddings.patch_embedding")
    yield f"{trunk}pos_embed", (f"{vision}embeddings.position_embedding.weight",), lambda table: table[None]
    for n in range(vision_layers):
        ours, theirs = f"{trunk}blocks.{n}.", f"{vision}encoder.layers.{n}."
        for part in ("weight", "bias"):
            yield stacked(f"{ours}attn.qkv.{part}", *(f"{theirs}self_attn.{x}_proj.{part}" for x in "qkv"))
        yield from layer(f"{ours}attn.proj", f"{theirs}self_attn.out_proj")
        for our_part, their_part in (("norm1", "layer_norm1"), ("norm2", "layer_norm2")):
            yield from layer(ours + our_part, theirs + their_part)
        for part in ("mlp.fc1", "mlp.fc2"):
            yield from layer(ours + part, theirs + part)
    yield from layer(f"{trunk}norm", f"{vision}post_layernorm")
    yield from _pooling(f"{trunk}attn_pool.", f"{vision}head.")
    yield from text_entries(text_layers)
    yield from layer("text.text_projection", "text_model.head")
    yield scalar("logit_scale", "logit_scale")
    yield scalar("logit_bias", "logit_bias")


def _pooling(ours: str, theirs: str) -> Iterator[Entry]:
    """The head that reads patches by one learned query; there queries, keys and values lie in one tensor."""
    yield same(f"{ours}latent", f"{theirs}probe")
    for part in ("weight", "bias"):
        fused = (f"{theirs}attention.in_proj_{part}",)
        yield f"{ours}q.{part}", fused, _queries
        yield f"{ours}kv.{part}", fused, lambda qkv: qkv[len(qkv) // 3 :]
    yield from layer(f"{ours}proj", f"{theirs}attention.out_proj")
    yield from layer(f"{ours}norm", f"{theirs}layernorm")
    for part in ("mlp.fc1", "mlp.fc2"):
        yield from layer(ours + part, theirs + part)


def _queries(qkv: Tensor) -> Tensor:
    return qkv[: len(qkv) // 3]
