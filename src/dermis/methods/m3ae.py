"""M3AE -- Multi-Modal Masked Autoencoders for Medical Vision-and-Language Pre-Training (Chen et al., MICCAI 2022).

Paper    https://arxiv.org/abs/2209.07098, Section 2
Release  zhjohnchan/M3AE at 14da377 (no licence), m3ae/modules/{m3ae_module,objectives,prediction_heads}.py

Words are said from the picture and the other words, pixels from the text and the other patches; three passes a step:

    V, U = co-attention( f(x), g(t) ),    two streams; V_k, U_k after k layers of it
    L_words    = mean over hidden tokens n of all texts of  -log p(t_n | U( f(x), g(t with hidden words) )_n)     (1)
    L_pixels   = MAE's error of  d( V_3( f(visible patches), g(t) ) )                                             (2)
    L_matching = mean over cases of the binary cross-entropy of  w·[a(V_class), b(U_class)],  x swapped or not    (3)
    L = L_words + L_pixels + L_matching                                                                           (4)

0.15 of a text's words are hidden (the mask in 8 of 10 tokens, any token in 1, itself in 1), 0.75 of the patches; in (3)
half of the cases see another case's picture. d is MAE's decoder, a and b a layer and tanh each. What is hidden has no
way into the pass that says it. Pictures and texts that nothing is hidden from are encoded once for all passes.

Differs from the release:
  1. A swapped picture is another case's of the batch (of this rank, of the slice), whose caption is another string;
     there any of the data set, whatever its caption.
  2. Words: round(0.15 · words), one at least, of each text. There tokens are counted, padding too, and a word is what
     BERT's "##" continues, so that of RoBERTa's vocabulary each piece is one (here ``words: pieces``).
  3. The vectors that words are said by are the text tower's token embeddings. There it has others, from scratch.
  4. (2) goes through the first three layers of co-attention only: those above have no part in it.
  5. The image tower is whole. CLIP's ViT there lacks its last block, and carries CLIP's token embeddings unused.
  6. round(0.75 · P) patches are masked; ``mae`` has more on its decoder and on trunks.
  7. Cosine after the warm-up (training.schedule), where the release falls linearly.
  8. (1) averages over the tokens of all ranks, where the release averages the ranks' means.

Co-attention, decoder and heads stay in the run's checkpoints; a model folder holds the two towers. No loss reads the
projections of ``model.head``, so they stay as drawn: take ``head: none`` where both towers are ``embed_dim`` wide, else
look at the trunk's features. At the paper's sizes it has 334.0 M parameters. M2CG's tables say 346 M; the release has
344.6 without its heads, with 25.3 of CLIP's text side that nothing uses.

Each rank draws for itself from torch's generator, which checkpoints hold, as ``mae`` does; with the draws given, two
ranks' mean of value and gradient is one's.

Shapes: B cases on this rank, N tokens of their captions, H hidden ones, P patches, K visible, D and W widths.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.batch.texts import concatenated
from dermis.distributed import all_reduce_mean
from dermis.losses.masked_pixels import masked_pixels, patchify
from dermis.losses.precision import at_least_float32
from dermis.methods import method
from dermis.methods.captions import caption_of_case
from dermis.recipe import refuse_out_of_range
from dermis.towers.co_attention import CoAttention, MatchingHead
from dermis.towers.hf_text import HFTextTower
from dermis.towers.masked_words import MaskedWords, WordHead
from dermis.towers.pixel_decoder import PixelDecoder
from dermis.towers.ragged import places
from dermis.towers.trained_text import TrainedTextTower
from dermis.towers.two_tower import TwoTower
from dermis.towers.visible_patches import draw_visible, masked_count, masked_of, patch_trunk, visible_tokens


@dataclass(kw_only=True)
class M3AEConfig:
    """Settings of M3AE; the defaults are the release's."""

    mask_words: float = 0.15
    """share of a text's words that is hidden, one word at least"""
    mask_patches: float = 0.75
    """share of a picture's patches that is hidden"""
    words: Literal["words", "pieces"] = "words"
    """hide words (BERT's word pieces), or pieces by themselves (any vocabulary)"""
    width: int = 768
    """of both streams of co-attention; a multiple of the heads"""
    layers: int = 6
    """of co-attention"""
    heads: int = 12
    """attention heads of co-attention"""
    dropout: float = 0.1
    """of co-attention"""
    pixel_layer: int = 3
    """layers of co-attention before the decoder of pixels"""
    decoder_width: int = 384
    """of the decoder of pixels; a multiple of 4 and of its heads"""
    decoder_layers: int = 4
    """blocks of the decoder of pixels"""
    decoder_heads: int = 6
    """attention heads of the decoder of pixels"""
    words_weight: float = 1.0
    """of (1) in (4)"""
    pixels_weight: float = 1.0
    """of (2) in (4)"""
    matching_weight: float = 1.0
    """of (3) in (4)"""
    lr_factor: float = 5.0
    """learning rate of co-attention, decoder and heads over that of the towers"""

    def __post_init__(self) -> None:
        for name in ("mask_words", "mask_patches"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is a share, between 0 and 1, not {getattr(self, name)}.")
        sizes = ("width", "layers", "heads", "decoder_width", "decoder_layers", "decoder_heads")
        refuse_out_of_range(self, above_0=("lr_factor",), at_least_1=sizes)
        if not 1 <= self.pixel_layer <= self.layers:
            raise ValueError(f"pixel_layer is one of the {self.layers} layers of co-attention, not {self.pixel_layer}.")
        weights = (self.words_weight, self.pixels_weight, self.matching_weight)
        if min(weights) < 0 or not any(weights):
            raise ValueError("words_weight, pixels_weight and matching_weight are 0 or more, and not all 0.")


class Drawn(NamedTuple):
    """What chance decides in a step."""

    told_N: Tensor  # noqa: N815 (shapes are in the names)
    """the captions' tokens, case after case, with words hidden"""
    hidden_N: Tensor  # noqa: N815
    """which of them are to be said"""
    visible_BK: Tensor  # noqa: N815
    """the patches that are seen"""
    shown_B: Tensor  # noqa: N815
    """whose picture stands beside the caption in (3)"""


@method("m3ae")
class M3AE(nn.Module):
    """Words from the picture, pixels from the text, and whether both belong together (Chen et al., 2022)."""

    Config = M3AEConfig
    needs = ("image", "caption")
    texts = ("caption",)
    citation = (
        "@inproceedings{chen2022m3ae, title={Multi-Modal Masked Autoencoders for Medical Vision-and-Language "
        "Pre-Training}, author={Chen, Zhihong and Du, Yuhao and Hu, Jinpeng and Liu, Yang and Li, Guanbin and Wan, "
        "Xiang and Chang, Tsung-Hui}, booktitle={MICCAI}, year={2022}}"
    )

    def __init__(self, model: TwoTower, config: M3AEConfig) -> None:
        """Raises ValueError for towers that words or patches cannot be hidden from, and for widths that do not fit."""
        super().__init__()
        trunk, text = patch_trunk(model.image), model.text
        if not trunk.has_class_token:
            raise ValueError(
                "M3AE matches by class tokens, and this image tower has none: vit_small_patch16_224, … do."
            )
        if not isinstance(text, TrainedTextTower | HFTextTower):
            raise ValueError(
                "M3AE hides words and reads on both sides of them: model.text.name is trained or hf:…, a BERT-like "
                "tower with a mask token; the causal ones (small, open_clip:…) see one side only."
            )
        self.model, self.config = model, config
        height, width = trunk.patch_embed.patch_size
        self.mask_words = MaskedWords(text.tokenizer, config.mask_words, config.words)
        self.fusion = CoAttention(
            trunk.embed_dim, cast(int, text.dim), config.width, config.layers, config.heads, config.dropout
        )
        self.say_word = WordHead(config.width, *self.word_vectors.shape)
        self.say_pixels = PixelDecoder(
            config.width,
            height * width * trunk.in_chans,
            config.decoder_width,
            config.decoder_layers,
            config.decoder_heads,
        )
        self.match = MatchingHead(config.width)
        for name, parameter in model.named_parameters():
            if not name.startswith(("image.", "text.")):
                parameter.requires_grad_(False)  # heads and scale, which no loss reads

    @property
    def word_vectors(self) -> Tensor:
        """The text tower's token embeddings (V, D)."""
        text, of_hf = cast(Any, self.model.text), isinstance(self.model.text, HFTextTower)
        return (text.encoder.get_input_embeddings() if of_hf else text.token_embedding).weight

    def param_groups(self) -> list[dict[str, Any]]:
        """The towers, and what is new and learns faster."""
        towers = {id(p) for p in self.model.parameters()}
        new = [p for p in self.parameters() if id(p) not in towers]
        return [
            {"params": [p for p in self.model.parameters() if p.requires_grad]},
            {"params": new, "lr_factor": self.config.lr_factor},
        ]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each case's ``errors`` under fresh draws: all that it adds to (4), so slices of a batch may do it."""
        return self.errors(batch, self.draw(batch))

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (4); beside it its terms."""
        config, hidden = self.config, all_reduce_mean(embeddings["hidden"].sum())
        words = embeddings["words"].sum() / hidden.clamp_min(1e-9)  # of empty texts only there is none
        pixels, matching = embeddings["pixels"].mean(), embeddings["matching"].mean()
        loss = config.words_weight * words + config.pixels_weight * pixels + config.matching_weight * matching
        logged = {"words": words, "pixels": pixels, "matching": matching}
        return {"loss": loss, **{name: term.detach() for name, term in logged.items()}}

    def draw(self, batch: dict[str, Tensor]) -> Drawn:
        """Which words and patches are hidden, and whose picture is shown.

        Raises ValueError without pictures, where so few patches are all hidden or all seen, and for a single case: it
        has nobody to swap pictures with.
        """
        if "image_BVCHW" not in batch:
            raise ValueError("M3AE hides patches: it needs pictures, not stored embeddings.")
        string_B = caption_of_case(batch)
        if len(string_B) == 1 and self.config.matching_weight:
            raise ValueError(
                "M3AE swaps pictures within a slice of a batch: batch_size / accumulate must be 2 or more."
            )
        own_N, offsets_B1 = concatenated(string_B, batch["offsets_S1"])
        told_N, hidden_N = self.mask_words(batch["tokens"][own_N], offsets_B1)
        rows, columns = self._grid(batch["image_BVCHW"])
        masked = masked_count(rows * columns, self.config.mask_patches)
        visible_BK = draw_visible(len(string_B), rows * columns, masked, string_B.device)
        return Drawn(told_N, hidden_N, visible_BK, draw_shown(string_B))

    def errors(self, batch: dict[str, Tensor], drawn: Drawn) -> dict[str, Tensor]:
        """Of each case (B,): its sum in (1) as ``words``, over ``hidden`` tokens; ``pixels`` (2); ``matching`` (3)."""
        image_BCHW, trunk, text = batch["image_BVCHW"][:, 0], patch_trunk(self.model.image), cast(Any, self.model.text)
        own_N, offsets_B1 = concatenated(caption_of_case(batch), batch["offsets_S1"])
        rows, columns = self._grid(image_BCHW)
        all_BP = torch.arange(rows * columns, device=image_BCHW.device).expand(len(image_BCHW), -1)
        whole_BTD = visible_tokens(trunk, image_BCHW, all_BP)
        state_ND = text.token_states(batch["tokens"], batch["offsets_S1"])[own_N]

        told_ND = text.token_states(drawn.told_N, offsets_B1)
        words_B, hidden_B = self.words(whole_BTD, told_ND, offsets_B1, batch["tokens"][own_N], drawn.hidden_N)
        part_BTD = visible_tokens(trunk, image_BCHW, drawn.visible_BK)
        streams = self.fusion(part_BTD, state_ND, offsets_B1, layers=self.config.pixel_layer)
        pixels_BPN = self.say_pixels(streams.image_BPW, drawn.visible_BK, (rows, columns))
        logit_B = self.match(self.fusion(whole_BTD[drawn.shown_B], state_ND, offsets_B1))
        belongs_B = drawn.shown_B == torch.arange(len(logit_B), device=logit_B.device)
        with torch.autocast(image_BCHW.device.type, enabled=False):
            target_BPN = patchify(image_BCHW, trunk.patch_embed.patch_size)
            masked_BP = masked_of(drawn.visible_BK, rows * columns)
            pixels_B = masked_pixels(at_least_float32(pixels_BPN), target_BPN, masked_BP)
            logit_B = at_least_float32(logit_B)
            matching_B = F.binary_cross_entropy_with_logits(logit_B, belongs_B.to(logit_B.dtype), reduction="none")
        return {"words": words_B, "hidden": hidden_B, "pixels": pixels_B, "matching": matching_B}

    def words(
        self, image_BTD: Tensor, told_ND: Tensor, offsets_B1: Tensor, token_N: Tensor, hidden_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The sum of -log p over the hidden tokens of each case, and how many they are: (B,) each."""
        streams = self.fusion(image_BTD, told_ND, offsets_B1)
        logit_HV = self.say_word(streams.text_BLW[streams.real_BL][hidden_N], self.word_vectors)
        missed_H = F.cross_entropy(at_least_float32(logit_HV), token_N[hidden_N], reduction="none")
        case_H = places(offsets_B1, len(token_N))[0][hidden_N]
        missed_B = missed_H.new_zeros(len(image_BTD)).index_add(0, case_H, missed_H)
        return missed_B, case_H.bincount(minlength=len(image_BTD)).to(missed_B.dtype)

    def _grid(self, image: Tensor) -> tuple[int, int]:
        return patch_trunk(self.model.image).patch_embed.dynamic_feat_size(image.shape[-2:])

    def encode_image(self, image_BCHW: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pictures -> (B, E)."""
        return self.model.encode_image(image_BCHW, normalize)

    def encode_text(self, tokens: Tensor, offsets_S1: Tensor, normalize: bool = False) -> Tensor:
        """Ragged texts -> (S, E)."""
        return self.model.encode_text(tokens, offsets_S1, normalize)


def draw_shown(string_B: Tensor) -> Tensor:
    """Whose picture stands beside each case's caption (B,): a random half see that of a case with another caption.

    A case that has no such other keeps its own. ``string_B``: which string is each case's caption.
    """
    B, device = len(string_B), string_B.device
    other_BB = string_B[:, None] != string_B
    partner_B = torch.rand(B, B, device=device).masked_fill(~other_BB, -1).argmax(1)
    swapped_B = (torch.randperm(B, device=device) < B // 2) & other_BB.any(1)
    return torch.where(swapped_B, partner_B, torch.arange(B, device=device))
