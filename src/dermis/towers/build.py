"""What a recipe says about towers, and the towers it means."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dermis.recipe import build, refuse_out_of_range
from dermis.registry import unknown
from dermis.towers import Transform
from dermis.towers.branches import Branches
from dermis.towers.freeze import freeze
from dermis.towers.image import ImageTower, classifier_keys, create_trunk, transform_of
from dermis.towers.stored_settings import read_settings
from dermis.towers.text import small_text_tower
from dermis.towers.trained_text import trained_text_tower
from dermis.towers.two_tower import TwoTower
from dermis.towers.weights import FOLDER, fetch_folder, load_strictly, read_weights

OPEN_CLIP, HF = "open_clip:", "hf:"
PAIRED = ("dermoscopy", "image")
"""the pictures of a case with two, in the order in which SM3's release puts their features"""
TRANSFORM = ("mean", "std", "interpolation", "resize_mode")
"""the settings of an image tower that say what its pictures are made into"""
HF_ONLY = ("pooling", "last_layers", "freeze_layers")
"""the settings of a text tower that only one of transformers has"""
TRAINED = "trained"
TRAINED_ONLY = ("tokenizer", "vocabulary", "characters")
"""the settings of a text tower that only one with a tokenizer of its own has"""


@dataclass(kw_only=True)
class ImageTowerConfig:
    name: str
    """a timm model, or open_clip:NAME (NAME as open_clip takes it: ViT-B-16, hf-hub:ORG/REPO, local-dir:FOLDER)"""
    weights: str | None = None
    """a .safetensors file in timm's names, local-dir:FOLDER or hf-hub:ORG/REPO; with open_clip:NAME a tag or a
    checkpoint of the whole model; None: random"""
    size: int | None = None
    """side of the pictures, pixels (None: the model's own)"""
    pool: Literal["token", "avg", "map", "token+avg"] | None = None
    """class token, mean of patches, attention pooling, or token and mean side by side (None: the model's own)"""
    mean: tuple[float, float, float] | None = None
    """of red, green and blue, in [0, 1], subtracted from the pictures (None: the model's own)"""
    std: tuple[float, float, float] | None = None
    """what they are divided by then (None: the model's own)"""
    interpolation: Literal["bicubic", "bilinear"] | None = None
    """how pictures are resized (None: the model's own)"""
    resize_mode: Literal["shortest", "squash"] | None = None
    """evaluation: keep the aspect and crop the centre, or resize both sides (None: shortest)"""
    freeze: bool = False
    """keep the weights as they are"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, at_least_1=("size",))


@dataclass(kw_only=True)
class TextTowerConfig:
    name: str = "small"
    """small (CLIP's architecture and vocabulary at the width below), trained (BERT's architecture, with a vocabulary
    learnt from the training texts), hf:FOLDER or hf:ORG/NAME (a BERT-like model with its weights), or open_clip:NAME,
    the same as the image tower's"""
    weights: str | None = None
    """small only: a .safetensors file of its encoder (None: random)"""
    width: int | None = None
    """small, trained (None: 256)"""
    layers: int | None = None
    """small, trained (None: 4); hf: the first this many (None: all)"""
    heads: int | None = None
    """small, trained (None: 4)"""
    context_length: int | None = None
    """tokens at most (None: 77 for small, 512 for trained, else the model's own)"""
    vocabulary: int | None = None
    """trained only: tokens at most (None: 8000)"""
    characters: bool | None = None
    """trained only: a token a character, as for Chinese (None: word pieces)"""
    tokenizer: str | None = None
    """trained only: tokenizer.json of an earlier run or model (None: `dermis train` makes one, in the run's folder)"""
    pooling: Literal["mean", "cls", "max"] | None = None
    """hf: only: mean over tokens, the first token, or the largest value over tokens (None: mean)"""
    last_layers: int | None = None
    """hf: only: a token's state is the sum of this many last hidden layers (None: 1; GLoRIA: 4)"""
    freeze_layers: int | None = None
    """hf: only: the embeddings and this many first layers keep their weights (None: all learn; ConVIRT: 6)"""
    freeze: bool = False
    """keep the weights as they are"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, at_least_1=("width", "layers", "heads", "context_length"))


@dataclass(kw_only=True)
class TwoTowerConfig:
    image: ImageTowerConfig
    text: TextTowerConfig = field(default_factory=TextTowerConfig)
    embed_dim: int | None = None
    """width of the common space (None: 256, or the open_clip model's own)"""
    head: Literal["linear", "mlp", "convirt", "none"] | None = None
    """the projections: linear, two layers with GELU (mlp) or with ReLU (convirt), or none (None: linear, or the
    open_clip model's own)"""
    logit_scale_init: float | None = None
    """scale of the cosine in the loss at step 0 (None: 1/0.07 as CLIP, or the open_clip model's own)"""
    logit_bias_init: float | None = None
    """bias added to the scaled cosine at step 0, trained; SigLIP starts at -10 (None: no bias, or the model's own)"""
    quick_gelu: bool | None = None
    """open_clip:NAME only: the activation the weights were trained with (None: as the model's configuration says)"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, above_0=("logit_scale_init",), at_least_1=("embed_dim",))


@dataclass(kw_only=True)
class BranchesConfig:
    """An image tower a picture of the case."""

    image: ImageTowerConfig
    """the tower of `image`, and of `dermoscopy` too: alike, with weights of its own"""
    paired: bool = True
    """look at `dermoscopy` beside `image`; if not, at `image` alone"""
    weights: str | None = None
    """a model of such towers to start from, as `dermis train` leaves one: local-dir:FOLDER or hf-hub:ORG/REPO; or a
    checkpoint of SM3's release (.pth)"""


def build_model(config: TwoTowerConfig | BranchesConfig, seed: int = 0, pretrained: bool = True) -> nn.Module:
    """The model that ``config`` describes (``build_two_tower``, ``build_branches``)."""
    if isinstance(config, TwoTowerConfig):
        return build_two_tower(config, seed, pretrained)
    return build_branches(config, seed, pretrained)


def build_branches(config: BranchesConfig, seed: int = 0, pretrained: bool = True) -> Branches:
    """A tower a picture, drawn by ``seed``; the global generator stays as it was.

    Both start from the same weights, drawn as well as pre-trained (SM3 starts both from ImageNet's): so their features
    mean the same before they part. ``pretrained=False`` reads no weights. With ``config.weights`` the model has that
    model's parts too: a method goes on from those that it knows. Raises ValueError as ``build_image_tower``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pictures = PAIRED if config.paired else PAIRED[1:]
        tower = build_image_tower(config.image, pretrained)
        model = Branches({name: deepcopy(tower) for name in pictures}, config)
        if config.weights and pretrained:
            parts, tensors = _stored_branches(config.weights)
            for part, given in parts.items():
                model.add(part, **given)
            load_strictly(model, tensors, config.weights)
    return model


def _stored_branches(source: str) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    """Settings of the parts and all tensors of a model in a folder, on the hub or in a checkpoint of SM3's release."""
    from dermis.towers.layouts import SETTINGS, sm3  # which builds towers itself

    if (checkpoint := sm3.named(source)) is not None:
        found = sm3.read(checkpoint)
        return found.settings, found.state_dict()
    folder = fetch_folder(source)
    known = read_settings(folder)
    if known is None or known["kind"] != "branches":
        what = f"no model of dermis (it has no {SETTINGS})" if known is None else known["kind"]
        raise ValueError(f"model.weights wants a model of towers side by side, and {source} is {what}.")
    return known["parts"], read_weights(f"{FOLDER}{folder}")


def rebuild_branches(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> Branches:
    """The model that a folder's settings describe (kind ``branches``: ``config`` and ``parts``), with its weights.

    The global generator stays as it was. Raises ValueError for weights that do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        model = build_branches(build(BranchesConfig, settings["config"], source), pretrained=False)
        for part, given in settings["parts"].items():
            model.add(part, **given)
    load_strictly(model, tensors, source)
    return model


def build_two_tower(config: TwoTowerConfig, seed: int = 0, pretrained: bool = True) -> TwoTower:
    """The model that ``config`` describes; what is random in it follows ``seed``, the global generator stays as it was.

    ``pretrained=False`` reads no weights (the caller has them all); an open_clip:NAME model comes with its own in any
    case. Raises ValueError, with a sentence, for unknown names, weights that do not fit and settings without effect.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.image.name.startswith(OPEN_CLIP) or config.text.name.startswith(OPEN_CLIP):
            return _build_open_clip(config)
        _refuse(config, ("quick_gelu",), "an open_clip:NAME model")
        two = TwoTower(
            build_image_tower(config.image, pretrained),
            build_text_tower(config.text, pretrained),
            config.embed_dim or 256,
            head=config.head or "linear",
            logit_scale_init=config.logit_scale_init or 1 / 0.07,
            logit_bias_init=config.logit_bias_init,
        )
    two.config = config
    return two


def build_image_tower(config: ImageTowerConfig, pretrained: bool = True) -> ImageTower:
    """A timm model as a tower; raises ValueError for unknown names and weights that do not fit."""
    trunk = create_trunk(config.name, config.size)
    tower = ImageTower(trunk, _transform(trunk, config), config.pool)
    if config.weights and pretrained:
        weights = read_weights(config.weights)
        load_strictly(
            trunk, {k: v for k, v in weights.items() if not k.startswith(classifier_keys(trunk))}, config.weights
        )
    tower.config = config
    return freeze(tower) if config.freeze else tower


def _transform(trunk: nn.Module, config: ImageTowerConfig) -> Transform:
    """The trunk's own, but what the config says. A squashed picture is seen whole."""
    given = {name: value for name in TRANSFORM if (value := getattr(config, name)) is not None}
    whole = {"crop_ratio": 1.0} if config.resize_mode == "squash" else {}
    return replace(transform_of(trunk, config.size), **given, **whole)


def build_text_tower(config: TextTowerConfig, pretrained: bool = True) -> nn.Module:
    """The tower that ``config`` describes; raises ValueError for unknown names and settings without effect."""
    if config.name == "small":
        _refuse(config, HF_ONLY, "an hf: tower")
        _refuse(config, TRAINED_ONLY, "the trained tower")
        tower = small_text_tower(
            config.width or 256, config.layers or 4, config.heads or 4, config.context_length or 77
        )
        if config.weights and pretrained:
            load_strictly(tower.encoder, read_weights(config.weights), config.weights)
    elif config.name == TRAINED:
        _refuse(config, ("weights", *HF_ONLY), "other text towers")
        if config.tokenizer is None:
            raise ValueError(
                "the trained text tower needs its tokenizer: `dermis train` makes one from the training texts; "
                "elsewhere name the file, text.tokenizer: tokenizer.json."
            )
        _refuse(config, TRAINED_ONLY[1:], "a tokenizer that is yet to be made")
        if not Path(config.tokenizer).is_file():
            raise ValueError(f"no tokenizer at {config.tokenizer}.")
        tower = trained_text_tower(
            Path(config.tokenizer).read_text(encoding="utf-8"),
            config.width or 256,
            config.layers or 4,
            config.heads or 4,
            config.context_length or 512,
        )
    elif config.name.startswith(HF):
        _refuse(config, ("weights", "width", "heads"), "the small tower")
        _refuse(config, TRAINED_ONLY, "the trained tower")
        from dermis.towers.hf_text import hf_text_tower  # transformers is an extra

        source = config.name.removeprefix(HF)
        tower = hf_text_tower(
            source,
            config.pooling or "mean",
            config.context_length,
            pretrained,
            last_layers=config.last_layers or 1,
            freeze_layers=config.freeze_layers,
            layers=config.layers,
        )
    else:
        raise unknown("text tower", config.name, ("small", TRAINED, "hf:FOLDER", "hf:ORG/NAME", "open_clip:NAME"))
    return freeze(tower) if config.freeze else tower


def _build_open_clip(config: TwoTowerConfig) -> TwoTower:
    if config.image.name != config.text.name:
        raise ValueError(
            f"an open_clip model brings both towers: image is {config.image.name!r}, text {config.text.name!r}; "
            "name the same model for both."
        )
    _refuse(config, ("head",), "towers that are not open_clip's")
    _refuse(config.image, ("pool", *TRANSFORM), "timm models")
    _refuse(
        config.text,
        ("weights", "width", "layers", "heads", "context_length", *HF_ONLY, *TRAINED_ONLY),
        "other text towers",
    )
    from dermis.towers.open_clip import open_clip_two_tower

    name = config.image.name.removeprefix(OPEN_CLIP)
    two = open_clip_two_tower(name, config.image.weights, config.quick_gelu, config.image.size)
    if config.embed_dim not in (None, two.embed_dim):
        raise ValueError(f"{name} has embed_dim {two.embed_dim}, not {config.embed_dim}; leave embed_dim out.")
    if config.logit_scale_init is not None:
        nn.init.constant_(two.logit_scale, math.log(config.logit_scale_init))
    if config.logit_bias_init is not None:
        two.logit_bias = nn.Parameter(torch.tensor(config.logit_bias_init))
    for tower, frozen in ((two.image, config.image.freeze), (two.text, config.text.freeze)):
        if frozen:
            freeze(tower)
    return two


def _refuse(config: object, names: tuple[str, ...], only: str) -> None:
    """A setting without effect is an error."""
    if given := [name for name in names if getattr(config, name) is not None]:
        raise ValueError(f"{type(config).__name__}: {', '.join(given)} has an effect for {only} only; leave it out.")
