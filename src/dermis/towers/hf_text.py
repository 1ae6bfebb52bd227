"""BERT-like text towers of transformers (the ``hf`` extra), from a local folder or by hub name, without padding.

Texts are grouped by length, so that a group pads to its own longest text only, and the embedding table is read once for
all groups: its dense gradient would otherwise be made once a group.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dermis.registry import unknown
from dermis.towers import Features
from dermis.towers.ragged import buckets, padded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

POOLINGS = ("mean", "cls")


@dataclass(frozen=True)
class HFTokenizer:
    """A transformers tokenizer: texts -> ids, special tokens in, truncated, not padded whatever its files say."""

    tokenizer: "PreTrainedTokenizerBase"
    context_length: int
    """tokens at most, special ones included"""

    def __call__(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        return self.tokenizer(texts, padding=False, truncation=True, max_length=self.context_length)["input_ids"]


class HFTextTower(nn.Module):
    """A transformers encoder read by the mean over its tokens or at its first token."""

    def __init__(self, encoder: nn.Module, tokenizer: HFTokenizer, pooling: str = "mean") -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise unknown("text pooling", pooling, POOLINGS)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # weights that no loss would reach
        self.encoder, self.tokenizer, self.pooling = encoder, tokenizer, pooling
        self.dim = encoder.config.hidden_size

    def features(self, tokens: Tensor, offsets_S1: Tensor) -> Features:
        """Flat token ids of S texts and their S + 1 bounds -> pooled (S, D)."""
        bounds = offsets_S1.tolist()
        lengths = [end - start for start, end in pairwise(bounds)]
        x_ND = self.encoder.get_input_embeddings()(tokens)
        pooled_SD = x_ND.new_zeros(len(lengths), self.dim)
        for texts, length in buckets(lengths):
            own = torch.tensor(texts, device=tokens.device)
            flat = torch.cat([torch.arange(bounds[t], bounds[t + 1]) for t in texts]).to(tokens.device)
            offsets = torch.tensor([0, *(lengths[t] for t in texts)], device=tokens.device).cumsum(0)
            x_bLD, mask_bL = padded(x_ND[flat], offsets, length)
            hidden_bLD = self.encoder(inputs_embeds=x_bLD, attention_mask=mask_bL.long()).last_hidden_state
            if self.pooling == "mean":
                pooled_bD = (hidden_bLD * mask_bL[..., None]).sum(1) / mask_bL.sum(1, keepdim=True)
            else:
                pooled_bD = hidden_bLD[:, 0]
            pooled_SD = pooled_SD.index_copy(0, own, pooled_bD.to(pooled_SD.dtype))
        return Features(pooled_SD)

    def write(self, folder: Path) -> None:
        """The encoder's settings and the tokenizer's files, all that ``hf_text_tower(..., pretrained=False)`` reads."""
        self.encoder.config.save_pretrained(folder)
        self.tokenizer.tokenizer.save_pretrained(folder)


def hf_text_tower(
    source: str, pooling: str = "mean", context_length: int | None = None, pretrained: bool = True
) -> HFTextTower:
    """A tower from a local folder or the hub's name of a model, its weights in float32.

    ``context_length``: tokens at most (default: the model's positions). ``pretrained=False`` reads settings and
    tokenizer only. Raises ValueError, with a sentence, if transformers is missing, if there is no such folder, or if
    weights are missing.
    """
    try:
        from transformers import AutoConfig, AutoModel, AutoTokenizer
    except ImportError:
        raise ValueError(f"the text tower {source!r} needs transformers: pip install 'dermis[hf]'.") from None
    if not Path(source).is_dir() and (source.startswith((".", "/", "~")) or source.count("/") > 1):
        raise ValueError(f"no folder at {source}: give a folder with config.json and tokenizer.json, or a hub name.")
    missing = []
    try:
        if pretrained:
            encoder, found = AutoModel.from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            missing = [k for k in found["missing_keys"] if "pooler" not in k]
        else:
            encoder = AutoModel.from_config(AutoConfig.from_pretrained(source))
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(f"transformers cannot load {source}: {error}") from None
    if missing:
        raise ValueError(f"{source} lacks {len(missing)} tensors of its encoder, the first {missing[0]!r}.")
    positions = getattr(encoder.config, "max_position_embeddings", 512)
    if context_length is not None and context_length > positions:
        raise ValueError(f"context_length {context_length} is more than the {positions} positions of {source}.")
    return HFTextTower(encoder, HFTokenizer(tokenizer, context_length or positions), pooling)
