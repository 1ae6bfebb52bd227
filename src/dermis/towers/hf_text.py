"""BERT-like text towers of transformers (the ``hf`` extra), from a local folder or by hub name, without padding.

Texts are grouped by length, so that a group pads to its own longest text only, and the embedding table is read once for
all groups: its dense gradient would otherwise be made once a group.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dermis.registry import unknown
from dermis.towers import Features
from dermis.towers.ragged import by_length

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

POOLINGS = ("mean", "cls", "max")


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

    def __len__(self) -> int:
        """Tokens of the vocabulary."""
        return len(self.tokenizer)

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return self._special("pad_token_id")

    @property
    def start(self) -> int:
        """Id of the token that a text begins with."""
        return self._special("cls_token_id")

    @property
    def end(self) -> int:
        """Id of the token that a text ends with."""
        return self._special("sep_token_id")

    @property
    def mask(self) -> int:
        """Id of the token that stands for a hidden one."""
        return self._special("mask_token_id")

    def _special(self, name: str) -> int:
        token = getattr(self.tokenizer, name)
        if token is None:
            raise ValueError(f"this tokenizer has no {name.removesuffix('_id')}, as BERT's have; take a BERT-like one.")
        return token

    def text(self, tokens: list[int]) -> str:
        """What these ids say, without special tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def begins_word(self, tokens: list[int]) -> list[bool]:
        """Does each token begin a word, or go on with the one before? Special tokens are words of their own.

        Raises ValueError for a vocabulary that is not one of word-pieces (BERT's).
        """
        model = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "model", None)
        if type(model).__name__ != "WordPiece":
            raise ValueError("which pieces make a word is known of BERT's word-pieces only; take words: pieces.")
        pieces = self.tokenizer.convert_ids_to_tokens(tokens)
        return [not piece.startswith(model.continuing_subword_prefix) for piece in pieces]


class HFTextTower(nn.Module):
    """A transformers encoder read by the mean or the largest value over its tokens, or at its first token.

    A token's state is the sum of the ``last_layers`` last hidden layers. Raises ValueError for an unknown pooling and
    for more layers than the encoder has.
    """

    stays_whole = True  # over texts of like length, which ranks have not equally many of

    def __init__(self, encoder: nn.Module, tokenizer: HFTokenizer, pooling: str = "mean", last_layers: int = 1) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise unknown("text pooling", pooling, POOLINGS)
        if last_layers != 1 and not 1 < last_layers <= encoder.config.num_hidden_layers:
            raise ValueError(f"last_layers is 1 to {encoder.config.num_hidden_layers} here, not {last_layers}.")
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # weights that no loss would reach
        self.encoder, self.tokenizer, self.pooling, self.last_layers = encoder, tokenizer, pooling, last_layers
        self.dim = encoder.config.hidden_size

    def features(self, tokens: Tensor, offsets_S1: Tensor) -> Features:
        """Flat token ids of S texts and their S + 1 bounds -> pooled (S, D)."""
        pooled_SD = self._nothing(len(offsets_S1) - 1)
        for own, _, state_bLD, mask_bL in self._groups(tokens, offsets_S1):
            pooled_SD = pooled_SD.index_copy(0, own, self._pool(state_bLD, mask_bL).to(pooled_SD.dtype))
        return Features(pooled_SD)

    def states_and_pooled(self, tokens: Tensor, offsets_S1: Tensor) -> tuple[Tensor, Tensor]:
        """The state of each token (N, D) and pooled (S, D), in one pass."""
        state_ND, pooled_SD = self._nothing(len(tokens)), self._nothing(len(offsets_S1) - 1)
        for own, flat, state_bLD, mask_bL in self._groups(tokens, offsets_S1):
            state_ND = state_ND.index_copy(0, flat, state_bLD[mask_bL].to(state_ND.dtype))
            pooled_SD = pooled_SD.index_copy(0, own, self._pool(state_bLD, mask_bL).to(pooled_SD.dtype))
        return state_ND, pooled_SD

    def token_states(self, tokens: Tensor, offsets_S1: Tensor) -> Tensor:
        """Flat token ids (N,) of S texts and their S + 1 bounds -> the state of each token (N, D)."""
        return self.states_and_pooled(tokens, offsets_S1)[0]

    def _nothing(self, rows: int) -> Tensor:
        return self.encoder.get_input_embeddings().weight.new_zeros(rows, self.dim)

    def _groups(self, tokens: Tensor, offsets_S1: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Texts of like length: which ones, where their tokens lie, their states (b, L, D) and which are real."""
        x_ND = self.encoder.get_input_embeddings()(tokens)
        for own, flat, x_bLD, mask_bL in by_length(x_ND, offsets_S1):
            yield own, flat, self._states(x_bLD, mask_bL), mask_bL

    def _states(self, x_bLD: Tensor, mask_bL: Tensor) -> Tensor:
        several = self.last_layers > 1
        out = self.encoder(inputs_embeds=x_bLD, attention_mask=mask_bL.long(), output_hidden_states=several)
        return torch.stack(out.hidden_states[-self.last_layers :]).sum(0) if several else out.last_hidden_state

    def _pool(self, state_bLD: Tensor, mask_bL: Tensor) -> Tensor:
        if self.pooling == "mean":
            return (state_bLD * mask_bL[..., None]).sum(1) / mask_bL.sum(1, keepdim=True)
        if self.pooling == "max":
            return state_bLD.masked_fill(~mask_bL[..., None], -torch.inf).amax(1)
        return state_bLD[:, 0]

    def write(self, folder: Path) -> None:
        """The encoder's settings and the tokenizer's files, all that ``hf_text_tower(..., pretrained=False)`` reads."""
        self.encoder.config.save_pretrained(folder)
        self.tokenizer.tokenizer.save_pretrained(folder)


def hf_text_tower(
    source: str,
    pooling: str = "mean",
    context_length: int | None = None,
    pretrained: bool = True,
    last_layers: int = 1,
    freeze_layers: int | None = None,
    layers: int | None = None,
) -> HFTextTower:
    """A tower from a local folder or the hub's name of a model, its weights in float32.

    ``context_length``: tokens at most (default: as many as the model has positions for). ``pretrained=False`` reads
    settings and tokenizer only. ``layers``: only the first this many (None: all). ``freeze_layers``: the embeddings and
    this many first layers keep their weights (None: all learn). Raises ValueError, with a sentence, if transformers is
    missing, if there is no such folder, if weights are missing, or if the encoder is not made of BERT's layers and some
    shall be left out or frozen.
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
    positions = _positions(encoder)
    if context_length is not None and context_length > positions:
        raise ValueError(f"context_length {context_length} is more than the {positions} positions of {source}.")
    if layers is not None:
        stack = _layers(encoder, "layers", layers, source)
        encoder.encoder.layer, encoder.config.num_hidden_layers = stack[:layers], layers
    if freeze_layers is not None:
        _freeze_first(encoder, freeze_layers, source)
    return HFTextTower(encoder, HFTokenizer(tokenizer, context_length or positions), pooling, last_layers)


def _positions(encoder: nn.Module) -> int:
    """Tokens that the encoder has positions for. RoBERTa's begin after its padding's: the first few are never used."""
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return getattr(encoder.config, "max_position_embeddings", 512) - (0 if padding is None else padding + 1)


def _freeze_first(encoder: nn.Module, layers: int, source: str) -> None:
    for part in (encoder.embeddings, *_layers(encoder, "freeze_layers", layers, source)[:layers]):
        part.requires_grad_(False)


def _layers(encoder: nn.Module, setting: str, value: int, source: str) -> nn.ModuleList:
    """BERT's layers; ValueError for another encoder, and for a setting that counts more layers than there are."""
    stack = getattr(getattr(encoder, "encoder", None), "layer", None)
    if stack is None or not hasattr(encoder, "embeddings"):
        raise ValueError(f"{setting} knows BERT's layers, and {source} has others; leave it out.")
    least = 1 if setting == "layers" else 0
    if not least <= value <= len(stack):
        raise ValueError(f"{setting} is {least} to {len(stack)} here, not {value}.")
    return stack
