"""CoCa -- Contrastive Captioners are Image-Text Foundation Models (Yu et al., TMLR 2022).

Paper    https://arxiv.org/abs/2205.01917, Section 3.2, equations 2 to 4
Release  none by the authors; mlfoundations/open_clip at 89fb801f, src/open_clip/{coca_model,loss}.py

Pictures and captions into one space as in CLIP, while a decoder learns to say the caption from the picture:

    L_con = CLIP's loss                                                                                          (2)
    L_cap = mean over tokens of -log p(y_l | y_1 … y_{l-1}, picture)                                             (3)
    L = λ_con L_con + λ_cap L_cap                                                                                (4)

Differs from the paper and open_clip:
  1. The contrastive vectors are the towers' own (class token or mean of patches; the text's end token): the paper
     pools the picture by a query of its own and appends a class token to the text.
  2. The decoder sees the token states of the text tower before its last norm, as in open_clip, and patches that a
     pooler reduced to ``queries``.
  3. The mean of (3) is over the tokens of all ranks; open_clip averages the ranks' means.

The decoder is trained with the towers and lives in the run's checkpoints; a model folder holds the two towers.

Shapes: B cases on this rank, N tokens of their captions, V vocabulary, P patches.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.batch.texts import concatenated
from dermis.distributed import all_reduce_mean
from dermis.methods import method
from dermis.methods.captions import caption_of_case, unit_length
from dermis.methods.clip import CLIP, CLIPConfig
from dermis.recipe import refuse_out_of_range
from dermis.towers.decoder import CaptionDecoder
from dermis.towers.decoding import Rules, greedy
from dermis.towers.text import TextTower
from dermis.towers.two_tower import TwoTower


@dataclass(kw_only=True)
class CoCaConfig(CLIPConfig):
    """Settings of CoCa: those of CLIP for its contrast, and the decoder."""

    contrast: float = 1.0
    """λ_con of equation (4)"""
    caption: float = 2.0
    """λ_cap of equation (4)"""
    decoder_layers: int = 4
    """pairs of self- and cross-attention blocks (the paper's base model: 12)"""
    decoder_heads: int = 4
    """attention heads of the decoder; they divide the text tower's width"""
    queries: int = 64
    """vectors that the picture's patches are pooled to for the decoder (the paper: 256)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_out_of_range(self, at_least_1=("decoder_layers", "decoder_heads", "queries"))


@method("coca")
class CoCa(nn.Module):
    """CLIP's contrast beside a decoder that learns to say the caption (Yu et al., 2022)."""

    Config = CoCaConfig
    needs = ("image", "caption")
    texts = ("caption",)
    citation = (
        "@article{yu2022coca, title={CoCa: Contrastive Captioners are Image-Text Foundation Models}, author={Yu, "
        "Jiahui and Wang, Zirui and Vasudevan, Vijay and others}, journal={TMLR}, year={2022}}"
    )

    def __init__(self, model: TwoTower, config: CoCaConfig) -> None:
        super().__init__()
        if not isinstance(model.text, TextTower):
            raise ValueError("CoCa's decoder continues a causal text tower: take the small one or an open_clip CLIP's.")
        self.config, self.clip = config, CLIP(model, config)
        encoder, image = model.text.encoder, cast(Any, model.image)
        self.decoder = CaptionDecoder(
            image.dim,
            model.text.dim,
            encoder.vocab_size,
            config.decoder_layers,
            config.decoder_heads,
            config.queries,
            encoder.context_length,
        )

    @property
    def model(self) -> TwoTower:
        """The two towers."""
        return self.clip.model

    @property
    def text(self) -> TextTower:
        """The text tower, whose states the decoder continues."""
        return cast(TextTower, self.model.text)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """``image`` and ``text`` of unit length (B, E); ``missed``, Σ_l -log p(y_l | …) of each case's caption (B,)."""
        model, string_B = self.model, caption_of_case(batch)
        patch_BPD, image_BE = self._look(batch)
        state_ND, pooled_SD = self.text.states_and_pooled(batch["tokens"], batch["offsets_S1"])
        text_SE = unit_length(model.text_head(pooled_SD))
        # the caption of each case, also where several cases share it: they look at other pictures
        own_N, offsets_B1 = concatenated(string_B, batch["offsets_S1"])
        logits_NV = self.decoder(patch_BPD, state_ND[own_N], offsets_B1)
        is_last_N = torch.zeros_like(own_N, dtype=torch.bool).index_fill(0, offsets_B1[1:] - 1, True)
        said_N, heard_N = batch["tokens"][own_N][1:][~is_last_N[:-1]], logits_NV[:-1][~is_last_N[:-1]]
        owner_N = torch.arange(len(string_B), device=own_N.device).repeat_interleave(offsets_B1.diff() - 1)
        missed_N = F.cross_entropy(heard_N.to(text_SE.dtype), said_N, reduction="none")
        missed_B = missed_N.new_zeros(len(string_B)).index_add(0, owner_N, missed_N)
        return {"image": image_BE, "text": text_SE[string_B], "missed": missed_B}

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (4) for this rank's cases among those of all ranks; beside it its terms."""
        found = self.clip.loss({name: embeddings[name] for name in ("image", "text")}, batch)
        tokens = (batch["offsets_S1"].diff()[caption_of_case(batch)] - 1).sum().to(embeddings["missed"].dtype)
        caption = embeddings["missed"].sum() / all_reduce_mean(tokens)
        contrast = found.pop("loss")
        loss = self.config.contrast * contrast + self.config.caption * caption
        return {"loss": loss, "contrast": contrast.detach(), "caption": caption.detach(), **found}

    def _look(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        if "image_BVCHW" not in batch:
            raise ValueError("CoCa's decoder looks at patches: it needs pictures, not stored embeddings.")
        pooled_BD, patch_BPD, _ = cast(Any, self.model.image).features(batch["image_BVCHW"][:, 0]).with_patches()
        return patch_BPD, unit_length(self.model.project_image(pooled_BD))

    @torch.no_grad()
    def generate(self, image_BCHW: Tensor, max_tokens: int = 60) -> list[str]:
        """A caption for each normalised picture, by the likeliest next token; each token reads the text so far anew."""
        _, patch_BPD, _ = cast(Any, self.model.image).features(image_BCHW).with_patches()
        tokenizer = self.text.tokenizer
        start, end = tokenizer([""])[0]
        start_B = torch.full((len(image_BCHW),), start, device=image_BCHW.device)
        said_BL = start_B[:, None][:, :0]

        def step(token_B: Tensor, _: Tensor | None) -> Tensor:
            nonlocal said_BL
            said_BL = torch.cat([said_BL, token_B[:, None]], dim=1)
            offsets_B1 = torch.arange(len(said_BL) + 1, device=said_BL.device) * said_BL.shape[1]
            state_ND = self.text.token_states(said_BL.flatten(), offsets_B1)
            return self.decoder(patch_BPD, state_ND, offsets_B1)[offsets_B1[1:] - 1]

        room = min(max_tokens, self.text.encoder.context_length - 1)
        said = greedy(step, start_B, Rules(end, min_tokens=0, max_tokens=room))
        return [tokenizer.text(tokens) for tokens in said]

    def after_step(self, step: int) -> None:
        """As CLIP."""
        self.clip.after_step(step)

    def encode_image(self, image_BCHW: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pictures -> (B, E)."""
        return self.model.encode_image(image_BCHW, normalize)

    def encode_text(self, tokens: Tensor, offsets_S1: Tensor, normalize: bool = False) -> Tensor:
        """Ragged texts -> (S, E)."""
        return self.model.encode_text(tokens, offsets_S1, normalize)
