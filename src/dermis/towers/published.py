"""A published model, as its layout says it, built by open_clip with its weights, strictly; and its tokenizer."""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from open_clip import CoCa, CustomTextCLIP, SimpleTokenizer
from open_clip.convert import convert_state_dict
from open_clip.hf_configs import arch_dict
from open_clip.hf_model import HFTextEncoder
from open_clip.model import resize_pos_embed, set_model_preprocess_cfg
from open_clip.timm_model import TimmModel
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import nn

from dermis.towers.layouts import TRANSFORMERS, Layout
from dermis.towers.weights import HUB, load_strictly

log = logging.getLogger(__name__)

TRAINED_WITH_QUICK_GELU = ("xieji-x/MAKE", "redlessone/DermLIP_ViT-B-16")
"""training started from OpenAI's weights, whose activation is QuickGELU; what their settings omit is said here
(SiyuanYan1/MAKE@ded1959 script/pretrain.sh, SiyuanYan1/Derm1M@92d8fa9 script/pretrain/ViT-B-16.sh)"""
BERT_BASE = (
    "neuml/pubmedbert-base-embeddings",
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext",
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext",
)
"""text encoders of BERT's base size, which is transformers' default: their settings need no hub"""
TOKENIZERS = ("tokenizer.json", "vocab.txt", "spiece.model", "tokenizer_config.json")


def build(
    layout: Layout, folder: Path, source: str, quick_gelu: bool | None = None, size: int | None = None
) -> tuple[nn.Module, Any, dict[str, Any]]:
    """The open_clip model of ``layout`` with its weights, its tokenizer, and the settings it was built with.

    ``folder``: where the text encoder's settings and the tokenizer's files lie, if they are not the hub's. Raises
    ValueError, with a sentence, for weights that do not fit and for settings that would have no effect.
    """
    model_cfg = deepcopy(layout.model_cfg) | {"quick_gelu": _activation(layout.model_cfg, source, quick_gelu)}
    if size is not None:
        set_size(model_cfg, size, source)
    model = _random(model_cfg, folder)
    tensors = convert_state_dict(model, dict(layout.tensors))  # open_clip's own for MobileCLIP and a few others
    if size is not None:
        resize_pos_embed(tensors, model)
    if isinstance(model.visual, TimmModel):
        _fit_trunk(model.visual, model_cfg["vision_cfg"], tensors)
    load_strictly(model, tensors, source)
    preprocess_cfg = merge_preprocess_dict(asdict(PreprocessCfg()), layout.preprocess_cfg)
    set_model_preprocess_cfg(model, preprocess_cfg | {"size": model.visual.image_size})
    return model, _tokenizer(model_cfg["text_cfg"], folder), model_cfg


def set_size(model_cfg: dict[str, Any], size: int, source: str) -> None:
    """Have open_clip's own image tower see pictures of ``size`` pixels; ValueError for a timm one."""
    if "timm_model_name" in model_cfg["vision_cfg"]:
        raise ValueError(
            f"{source} has a timm image tower, whose picture size is fixed in its weights; leave size out."
        )
    model_cfg["vision_cfg"]["image_size"] = size


def _activation(model_cfg: dict[str, Any], source: str, asked: bool | None) -> bool:
    """QuickGELU or not: as asked, as the settings say, as training is known to have been; open_clip's default else."""
    vision_cfg, text_cfg = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    own_image = not {"timm_model_name", "act_kwargs"} & set(vision_cfg) and isinstance(
        vision_cfg.get("layers", 12), int
    )
    has_effect = own_image or not {"hf_model_name", "act_kwargs"} & set(text_cfg)
    if asked is not None:
        if not has_effect:
            raise ValueError(f"{source} has no tower whose activation quick_gelu could set; leave it out.")
        return asked
    if "quick_gelu" in model_cfg:
        return bool(model_cfg["quick_gelu"])
    if source.removeprefix(HUB) in TRAINED_WITH_QUICK_GELU:
        log.warning("%s does not say its activation; QuickGELU is taken, with which it was trained", source)
        return True
    if has_effect:
        log.warning(
            "%s does not say its activation; GELU is taken, as open_clip does (quick_gelu=True: QuickGELU)", source
        )
    return False


def _random(model_cfg: dict[str, Any], folder: Path) -> nn.Module:
    """The model without its weights."""
    settings = deepcopy(model_cfg)
    settings.pop("custom_text", None)
    attends_padding = settings["text_cfg"].pop("attends_padding", False)
    settings["vision_cfg"]["timm_model_pretrained"] = settings["text_cfg"]["hf_model_pretrained"] = False
    try:
        with _transformers_settings(settings["text_cfg"], folder) as settings["text_cfg"]:
            model = (CoCa if "multimodal_cfg" in settings else CustomTextCLIP)(**settings)
    except (RuntimeError, OSError, TypeError, ImportError) as error:
        raise ValueError(f"open_clip cannot make the model of {folder}: {error}") from None
    if isinstance(model.text, HFTextEncoder):
        model.text.config = copy(model.text.transformer.config)
        if attends_padding:
            model.text.config.pad_token_id = -1  # open_clip masks the tokens that equal it: none
    return model


@contextmanager
def _transformers_settings(text_cfg: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """``text_cfg`` with ``hf_model_name`` where the encoder's settings are: in the folder, in BERT's, or at the hub."""
    name = text_cfg.get("hf_model_name")
    path = folder / TRANSFORMERS
    if name is None:
        yield text_cfg
    elif path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("model_type") in arch_dict:
        yield text_cfg | {"hf_model_name": str(folder)}
    elif name.lower() in (known.lower() for known in BERT_BASE):
        from transformers import BertConfig

        with tempfile.TemporaryDirectory() as scratch:
            BertConfig().save_pretrained(scratch)
            yield text_cfg | {"hf_model_name": scratch}
    else:
        yield text_cfg


def _fit_trunk(visual: TimmModel, vision_cfg: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Give a timm trunk what open_clip's settings cannot: the picture size of its weights, and another GELU."""
    position = tensors.get("visual.trunk.pos_embed")
    if position is not None and position.shape != visual.trunk.pos_embed.shape:
        visual.set_input_size(vision_cfg["image_size"])
    if "act_kwargs" in vision_cfg:
        for module in visual.trunk.modules():
            for name, child in module.named_children():
                if isinstance(child, nn.GELU) or type(child).__name__ == "GELUTanh":
                    setattr(module, name, nn.GELU(**vision_cfg["act_kwargs"]))


def _tokenizer(text_cfg: dict[str, Any], folder: Path) -> Any:
    """From the folder where it has the tokenizer's files, else by the name in the settings; CLIP's without one."""
    name, length = (
        text_cfg.get("hf_tokenizer_name") or text_cfg.get("hf_model_name"),
        text_cfg.get("context_length", 77),
    )
    more = text_cfg.get("tokenizer_kwargs") or {}
    if not name:
        return SimpleTokenizer(context_length=length, **more)
    source = str(folder) if any((folder / file).is_file() for file in TOKENIZERS) else name
    try:
        return HFTokenizer(source, context_length=length, tokenizer_mode=text_cfg.get("tokenizer_mode"), **more)
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(f"transformers cannot load the tokenizer of {source}: {error}") from None
