"""CLIP in the names of transformers: OpenAI's CLIP as published there, MONET, and other fine-tuned CLIPs.

The settings say which activation the weights were trained with (``hidden_act``), so QuickGELU is never guessed. MONET
(Kim et al., Nature Medicine 2024; hub: chanwkim/monet) is CLIP ViT-L/14 in this layout.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dermis.towers.layouts import Layout
from dermis.towers.layouts.key_map import Entry, layer, same, scalar, stacked, translate, transposed
from dermis.towers.weights import find_checkpoint, read_checkpoint

VOCABULARY = 49408
LEFT_OUT = ("vision_model.embeddings.position_ids", "text_model.embeddings.position_ids")
INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as transformers writes them -> open_clip's words"""
ACTIVATIONS = {"quick_gelu": True, "gelu": False}


def read(folder: Path) -> Layout:
    """Settings, preprocessing and weights of a ``CLIPModel``; needs transformers.

    Raises ValueError, with a sentence, for tensors that do not fit and for settings that open_clip's CLIP has not.
    """
    config = load_config(folder, "CLIPConfig")
    vision, text = config.vision_config, config.text_config
    if vision.hidden_act != text.hidden_act or vision.hidden_act not in ACTIVATIONS:
        raise ValueError(
            f"{folder} has the activations {vision.hidden_act!r} and {text.hidden_act!r}; "
            f"both towers must have the same of {', '.join(ACTIVATIONS)}."
        )
    if text.vocab_size != VOCABULARY:
        raise ValueError(f"{folder} has {text.vocab_size} tokens; CLIP's byte pairs are {VOCABULARY}.")
    model_cfg = {
        "embed_dim": config.projection_dim,
        "quick_gelu": ACTIVATIONS[vision.hidden_act],
        "vision_cfg": {"image_size": vision.image_size, "patch_size": vision.patch_size} | _vision_size(vision),
        "text_cfg": text_settings(text),
        "custom_text": True,
    }
    tensors = read_checkpoint(find_checkpoint(folder))
    entries = _entries(vision.num_hidden_layers, text.num_hidden_layers)
    return Layout(model_cfg, read_preprocessing(folder), translate(entries, tensors, str(folder), LEFT_OUT))


def load_config(folder: Path, kind: str) -> Any:
    """The settings in config.json, with transformers' defaults for what it does not say."""
    try:
        import transformers
    except ImportError:
        raise ValueError(f"{folder} holds a transformers model: pip install 'dermis[hf]'.") from None
    return getattr(transformers, kind).from_pretrained(folder)


def read_preprocessing(folder: Path, otherwise: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """open_clip's preprocess_cfg from processor_config.json (transformers 5) or preprocessor_config.json.

    ``otherwise``: what holds where they do not say it ({}: CLIP's own, open_clip's default). Raises ValueError for a
    central crop of a larger picture, which open_clip has not.
    """
    path, said = _said_of_pictures(folder)
    if not said:
        return dict(otherwise)
    size, crop = _side(said.get("size", 224)), _side(said.get("crop_size", said.get("size", 224)))
    squash = not said.get("do_center_crop", "crop_size" in said)
    if not squash and size != crop:
        raise ValueError(f"{path} crops {crop} of {size} pixels; only crops of the whole shorter side are supported.")
    preprocess = {**otherwise, "size": crop, "resize_mode": "squash" if squash else "shortest"}
    preprocess["interpolation"] = INTERPOLATIONS.get(said.get("resample", 3), "bicubic")
    if not said.get("do_normalize", True):
        return preprocess | {"mean": [0.0] * 3, "std": [1.0] * 3}
    return preprocess | {ours: said[f"image_{ours}"] for ours in ("mean", "std") if f"image_{ours}" in said}


def _said_of_pictures(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file with the settings of an image processor and what it says, {} if no file does.

    Transformers 5 writes them into those of the whole processor, and looks for them there first.
    """
    whole, alone = folder / "processor_config.json", folder / "preprocessor_config.json"
    if whole.is_file() and (said := json.loads(whole.read_text(encoding="utf-8")).get("image_processor")):
        return whole, said
    return alone, json.loads(alone.read_text(encoding="utf-8")) if alone.is_file() else {}


def _side(size: int | dict[str, int]) -> int:
    """Of the ways in which transformers has said a square: 224, {shortest_edge: 224}, {height: 224, width: 224}."""
    if isinstance(size, int):
        return size
    sides = set(size.values())
    if len(sides) != 1:
        raise ValueError(f"pictures of {size} are not square; only squares are supported.")
    return sides.pop()


def _vision_size(vision: Any) -> dict[str, Any]:
    width = vision.hidden_size
    size = {"width": width, "layers": vision.num_hidden_layers, "head_width": width // vision.num_attention_heads}
    return size | {"mlp_ratio": ratio(vision), "norm_kwargs": {"eps": vision.layer_norm_eps}}


def text_settings(text: Any) -> dict[str, Any]:
    """open_clip's text_cfg of a transformers text tower."""
    return {
        "context_length": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "width": text.hidden_size,
        "heads": text.num_attention_heads,
        "layers": text.num_hidden_layers,
        "mlp_ratio": ratio(text),
        "norm_kwargs": {"eps": text.layer_norm_eps},
    }


def ratio(tower: Any) -> float:
    """Width of the MLP over that of the tower, such that open_clip's ``int(width * ratio)`` is exact."""
    whole, rest = divmod(tower.intermediate_size, tower.hidden_size)
    return float(whole) if not rest else (tower.intermediate_size + 0.5) / tower.hidden_size


def _entries(vision_layers: int, text_layers: int) -> Iterator[Entry]:
    yield same("visual.class_embedding", "vision_model.embeddings.class_embedding")
    yield same("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight")
    yield same("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight")
    yield from layer("visual.ln_pre", "vision_model.pre_layrnorm")
    for n in range(vision_layers):
        yield from block(f"visual.transformer.resblocks.{n}.", f"vision_model.encoder.layers.{n}.")
    yield from layer("visual.ln_post", "vision_model.post_layernorm")
    yield transposed("visual.proj", "visual_projection.weight")
    yield from text_entries(text_layers)
    yield transposed("text.text_projection", "text_projection.weight")
    yield scalar("logit_scale", "logit_scale")


def text_entries(layers: int) -> Iterator[Entry]:
    """The text tower without its projection; SigLIP's has the same names."""
    yield same("text.token_embedding.weight", "text_model.embeddings.token_embedding.weight")
    yield same("text.positional_embedding", "text_model.embeddings.position_embedding.weight")
    for n in range(layers):
        yield from block(f"text.transformer.resblocks.{n}.", f"text_model.encoder.layers.{n}.")
    yield from layer("text.ln_final", "text_model.final_layer_norm")


def block(ours: str, theirs: str) -> Iterator[Entry]:
    """A layer of transformers' encoder as a residual block of open_clip."""
    for part in ("weight", "bias"):
        yield stacked(f"{ours}attn.in_proj_{part}", *(f"{theirs}self_attn.{x}_proj.{part}" for x in "qkv"))
    names = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    for our_part, their_part in (names | {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}).items():
        yield from layer(ours + our_part, theirs + their_part)
