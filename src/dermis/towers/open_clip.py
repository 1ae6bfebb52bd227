"""Whole open_clip models (CLIP, SigLIP, CoCa) as two towers: by name, ``local-dir:FOLDER`` or ``hf-hub:ORG/REPO``.

A folder or a repository may also hold a model in somebody else's layout (``dermis.towers.layouts``).

The towers give what lies before the projection, the projections become the two-tower model's heads, so that stored
features and patch vectors work as with any other tower. CoCa's captioning decoder is not part of two towers and is left
out. Nothing is guessed about QuickGELU: weights that were trained with it and a model without it are an error.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from open_clip.factory import get_model_config, parse_model_name
from open_clip.hf_model import HFTextEncoder
from open_clip.pretrained import get_pretrained_cfg
from open_clip.timm_model import TimmModel
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from dermis.registry import unknown
from dermis.towers import Features, Transform
from dermis.towers.image import ImageTower
from dermis.towers.layouts import read_layout
from dermis.towers.published import build, set_size
from dermis.towers.text import BytePairTokenizer, PaddedTextTower, TextTower, forget_words
from dermis.towers.two_tower import TwoTower
from dermis.towers.weights import fetch_folder


@dataclass(frozen=True)
class OpenClipSettings:
    """What open_clip_config.json holds: how to build the model, and how it sees pictures."""

    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]


class OpenClipImageTower(nn.Module):
    """open_clip's own vision transformer or ResNet, without its projection; it takes one picture size."""

    def __init__(self, encoder: nn.Module, transform: Transform, dim: int) -> None:
        super().__init__()
        self.encoder, self.transform, self.dim = encoder, transform, dim
        self.has_patches = isinstance(encoder, VisionTransformer) and encoder.attn_pool is None
        if isinstance(encoder, VisionTransformer):
            encoder.output_tokens = self.has_patches

    def features(self, image_BCHW: Tensor) -> Features:
        """Pictures, normalised as ``transform`` says. Patches: the last layer's tokens after its norm."""
        if not self.has_patches:
            return Features(self.encoder(image_BCHW))
        pooled_BD, patch_BPD = self.encoder(image_BCHW)
        if self.encoder.final_ln_after_pool:
            patch_BPD = self.encoder.ln_post(patch_BPD)
        if patch_BPD.shape[1] != self.encoder.grid_size[0] * self.encoder.grid_size[1]:
            return Features(pooled_BD)  # patch dropout in training: what is left has lost its place
        return Features(pooled_BD, patch_BPD, self.encoder.grid_size)


@dataclass(frozen=True)
class OpenClipTokenizer:
    """An open_clip tokenizer without its padding, which the tower puts back."""

    tokenizer: Any
    pad_id: int

    def __call__(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        if isinstance(self.tokenizer, open_clip.SimpleTokenizer):
            forget_words(self.tokenizer)
        ids_SL = self.tokenizer(texts)
        # one id stays even of an empty text, so that every text has a place
        real_S = (ids_SL != self.pad_id).flip(1).int().argmax(1)
        lengths = torch.where((ids_SL == self.pad_id).all(1), 1, ids_SL.shape[1] - real_S)
        return [row[:length].tolist() for row, length in zip(ids_SL, lengths.tolist(), strict=True)]


def open_clip_two_tower(
    name: str, weights: str | None = None, quick_gelu: bool | None = None, size: int | None = None
) -> TwoTower:
    """An open_clip model as a ``TwoTower``.

    ``weights``: for built-in names a tag of open_clip or the path of a checkpoint, None for random weights; folders and
    hub repositories bring their own. ``quick_gelu`` overrides what the model's configuration says. ``size`` (pixels)
    overrides the picture size of open_clip's own vision transformers. Raises ValueError with a sentence for unknown
    names and settings that do not fit together.
    """
    schema, identifier = parse_model_name(name)
    if schema:
        if weights:
            raise ValueError(f"{name} brings its own weights; leave `weights` out.")
        folder = fetch_folder(name)
        return two_tower_of(*build(read_layout(folder), folder, name, quick_gelu, size))
    if get_model_config(identifier) is None:
        raise unknown("open_clip model", identifier, open_clip.list_models())
    overrides = {} if quick_gelu is None else {"quick_gelu": quick_gelu}
    model_cfg = get_model_config(name) | overrides
    check_quick_gelu(identifier, weights, bool(model_cfg.get("quick_gelu", False)))
    if size is not None:
        set_size(model_cfg, size, name)
    try:
        model = open_clip.create_model(
            name,
            pretrained=weights,
            force_custom_text=True,
            force_image_size=size,
            pretrained_text=False,
            **overrides,
        )
        tokenizer = open_clip.get_tokenizer(name)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"open_clip cannot make {name}: {error}") from None
    return two_tower_of(model, tokenizer, model_cfg)


def check_quick_gelu(name: str, tag: str | None, quick_gelu: bool) -> None:
    """Raise ValueError if open_clip knows that the weights ``tag`` of ``name`` had another activation."""
    trained = get_pretrained_cfg(name, tag) if tag else {}
    if trained and bool(trained.get("quick_gelu", False)) != quick_gelu:
        raise ValueError(
            f"the weights {tag!r} of {name} were trained with quick_gelu={not quick_gelu}, the model has "
            f"quick_gelu={quick_gelu}: set quick_gelu: {str(not quick_gelu).lower()}."
        )


def two_tower_of(model: nn.Module, tokenizer: Any, model_cfg: dict[str, Any]) -> TwoTower:
    """Take a CustomTextCLIP or CoCa apart into towers and heads (its own modules, not copies)."""
    preprocess = model.visual.preprocess_cfg
    image, image_head = _image_tower(model.visual, _transform(preprocess), model_cfg["vision_cfg"])
    text, text_head = _text_tower(model.text, tokenizer, model_cfg["text_cfg"])
    two = TwoTower(image, text, model_cfg["embed_dim"], head="linear")
    two.image_head, two.text_head = image_head, text_head
    two.logit_scale, two.logit_bias = model.logit_scale, model.logit_bias
    two.config = OpenClipSettings(_two_tower_settings(model_cfg, model.logit_bias is not None), dict(preprocess))
    return two


def _two_tower_settings(model_cfg: dict[str, Any], bias: bool) -> dict[str, Any]:
    """``model_cfg`` of the same two towers without a decoder, as CustomTextCLIP takes it."""
    settings = deepcopy(model_cfg) | {"custom_text": True}
    settings.pop("multimodal_cfg", None)
    for tower in ("vision_cfg", "text_cfg"):
        settings[tower].pop("output_tokens", None)
    settings.setdefault("quick_gelu", False)
    if bias:
        settings.setdefault("init_logit_bias", 0.0)
    return settings


def _transform(preprocess: dict[str, Any]) -> Transform:
    size = preprocess["size"]
    if preprocess["resize_mode"] not in ("shortest", "squash"):
        raise ValueError(f"resize_mode {preprocess['resize_mode']!r} is not supported; shortest and squash are.")
    return Transform(
        size=(size, size) if isinstance(size, int) else tuple(size),
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        interpolation=preprocess["interpolation"],
        resize_mode=preprocess["resize_mode"],
    )


def _image_tower(visual: nn.Module, transform: Transform, settings: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    if isinstance(visual, TimmModel):
        if settings.get("timm_pool", "avg") not in ("", "avg", "token", "map"):
            raise ValueError(f"open_clip's pooling {settings['timm_pool']!r} over timm models is not supported.")
        heads = [m for m in visual.head.children() if not isinstance(m, nn.Dropout)]
        if settings.get("timm_proj", "linear") == "":  # the trunk's own classifier projects
            heads = [visual.trunk.get_classifier()]
        pool = settings.get("timm_pool", "avg") or None
        return ImageTower(visual.trunk, transform, pool), heads[0] if heads else nn.Identity()
    if not isinstance(visual, VisionTransformer):  # a ResNet projects inside its attention pooling
        return OpenClipImageTower(visual, transform, visual.output_dim), nn.Identity()
    dim = visual.ln_post.normalized_shape[0]
    head, visual.proj = _linear(visual.proj), None
    return OpenClipImageTower(visual, transform, dim), head


def _text_tower(text: nn.Module, tokenizer: Any, settings: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    text.output_tokens = False
    if isinstance(text, HFTextEncoder):
        head, text.proj = text.proj, nn.Identity()
        pad = text.transformer.config.pad_token_id
        length = settings["context_length"] if settings.get("attends_padding") else None
        return PaddedTextTower(text, OpenClipTokenizer(tokenizer, pad), text.config.hidden_size, pad, length), head
    assert isinstance(text, TextTransformer)
    head, text.text_projection = _linear(text.text_projection), None
    causal = text.attn_mask is not None and text.cls_emb is None and text.pool_type == "argmax"
    if causal and type(tokenizer) is open_clip.SimpleTokenizer and not settings.get("tokenizer_kwargs"):
        return TextTower(text, BytePairTokenizer(text.context_length)), head
    pad = 0 if isinstance(tokenizer, open_clip.SimpleTokenizer) else tokenizer.tokenizer.pad_token_id
    ragged = OpenClipTokenizer(tokenizer, pad)
    return PaddedTextTower(text, ragged, text.width, pad, text.context_length), head


def _linear(projection: Tensor | nn.Module | None) -> nn.Module:
    """open_clip's projection, a (D, E) parameter, a layer or nothing, as a layer."""
    if projection is None:
        return nn.Identity()
    if isinstance(projection, nn.Module):
        return projection
    layer = nn.Linear(*projection.shape, bias=False)
    layer.weight = nn.Parameter(projection.detach().T.contiguous())
    return layer
