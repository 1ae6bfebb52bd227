"""PMC-CLIP (Lin et al., MICCAI 2023): CLIP's ResNet-50 beside PubMedBERT, read at its first token.

Two releases of the same model: the training checkpoint, whose fusion module and masked language model are no part of
the two towers and are left out, and three files with the image encoder, the text encoder and the text projection. Facts
from WeixiongLin/PMC-CLIP@419c147: 77 tokens; the encoder got no attention mask in training, so that texts are padded to
77 and attend to their padding; the first token of the last layer is projected; pictures are CLIP's.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dermis.towers.layouts import Layout
from dermis.towers.layouts.key_map import Entry, same, scalar, translate, transposed
from dermis.towers.weights import UNPICKLED, read_checkpoint

log = logging.getLogger(__name__)

IMAGE, TEXT, PROJECTION = "image_encoder(resnet50).pth", "text_encoder.pth", "text_projection_layer.pth"
BERT = "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext"
LEFT_OUT = ("fusion_module.", "mlm_projection", "img_special_token", "positional_embedding", "ln_final.")
"""of the training checkpoint: fusion of picture and text, masked language model, and two parts that nothing uses"""
UNREAD = ("text_encoder.pooler.", "text_encoder.embeddings.position_ids")
"""of BERT: its own reading of the first token, which PMC-CLIP does not take, and a buffer of old versions"""
LOGIT_SCALE = 4.4292
"""logarithm of the trained scale, as users of the three files take it; only the checkpoint holds it"""


def recognised(folder: Path) -> bool:
    """The three files are here, or one checkpoint*.pt as training writes it."""
    return _is_three_files(folder) or _checkpoint(folder) is not None


def _is_three_files(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (IMAGE, TEXT, PROJECTION))


def _checkpoint(folder: Path) -> Path | None:
    found = [path for path in folder.glob("checkpoint*") if path.suffix in UNPICKLED]
    return found[0] if len(found) == 1 else None


def read(folder: Path) -> Layout:
    """The two towers of either release; raises ValueError naming tensors that are missing or have no place."""
    tensors = _three_files(folder) if _is_three_files(folder) else read_checkpoint(_checkpoint(folder))
    needed = ("visual.layer4.0.conv1.weight", "visual.attnpool.positional_embedding", "text_projection")
    if missing := [name for name in needed if name not in tensors]:
        raise ValueError(f"{folder} is no PMC-CLIP: its weights lack {', '.join(missing)}.")
    translated = translate(_entries(tensors), tensors, str(folder), LEFT_OUT + UNREAD)
    return Layout(_settings(tensors), {}, translated)


def _three_files(folder: Path) -> dict[str, Tensor]:
    log.warning("%s: the scale of the cosine is in none of its files; taken as exp(%s)", folder, LOGIT_SCALE)
    return {
        **{f"visual.{name}": tensor for name, tensor in read_checkpoint(folder / IMAGE).items()},
        **{f"text_encoder.{name}": tensor for name, tensor in read_checkpoint(folder / TEXT).items()},
        "text_projection": read_checkpoint(folder / PROJECTION)[""],
        "logit_scale": torch.tensor(LOGIT_SCALE),
    }


def _settings(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """open_clip's settings; what they do not fix is read off the tensors."""
    blocks = [{name.split(".")[2] for name in tensors if name.startswith(f"visual.layer{n}.")} for n in (1, 2, 3, 4)]
    side = round((len(tensors["visual.attnpool.positional_embedding"]) - 1) ** 0.5)
    return {
        "embed_dim": tensors["text_projection"].shape[1],
        "vision_cfg": {
            "image_size": 32 * side,
            "layers": [len(names) for names in blocks],
            "width": tensors["visual.layer1.0.conv1.weight"].shape[0],
        },
        "text_cfg": {
            "hf_model_name": BERT,
            "hf_tokenizer_name": BERT,
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "hf_proj_type": "linear",
            "context_length": 77,
            "attends_padding": True,
        },
        "custom_text": True,
    }


def _entries(tensors: Mapping[str, Tensor]) -> Iterator[Entry]:
    """Both towers have the names of open_clip and transformers; what is too much or too little, building says."""
    for name in tensors:
        if name.startswith("visual."):
            yield same(name, name)
        elif name.startswith("text_encoder.") and not name.startswith(UNREAD):
            yield same(f"text.transformer.{name.removeprefix('text_encoder.')}", name)
    yield transposed("text.proj.weight", "text_projection")
    yield scalar("logit_scale", "logit_scale")
