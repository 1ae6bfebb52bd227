"""CLIP -- Learning Transferable Visual Models From Natural Language Supervision (Radford et al., ICML 2021).

Paper    https://arxiv.org/abs/2103.00020, Section 2.3, Figure 3, Section 2.5
Release  openai/CLIP at d05afc43, clip/model.py:358-372 (logits; the training code was never released);
         mlfoundations/open_clip at 89fb801f, src/open_clip/loss.py (ClipLoss)

Picture i and caption i belong together; each picture finds its caption among all captions of the batch, and each
caption its picture:

    u_i = f(x_i) / |f(x_i)|,    v_i = g(t_i) / |g(t_i)|                                          (1)
    L_image = mean_i -log( e^{s u_i·v_i} / Σ_j e^{s u_i·v_j} )
    L_text  = mean_i -log( e^{s u_i·v_i} / Σ_j e^{s u_j·v_i} )
    L = w L_image + (1 - w) L_text,    w = 1/2                                                   (2)
    s = e^{logit_scale}, trained, at most 100                                                    (3)

Differs from the release:
  1. A rank scores its own rows only (open_clip's local_loss with gather_with_grad), and logits can be made in chunks.
     Value and gradient are those of the whole matrix.
  2. The loss is computed in float32 also under autocast; open_clip's matrix product runs in the autocast type.
  3. A string that several cases share is encoded once. ``duplicates`` says what it then is to its twin. As negatives
     (the paper; default), a string occurring n times stands n times in the denominator, so that e^{s u·v} learns
     P(string | picture) / n: rare diagnoses score as if all were equally frequent. But two owners of one string push
     each other away. Shared, the score learns P(string | picture) itself, and owners do not compete.
  4. logit_scale is clamped to at most ln 100 as in the paper; open_clip also keeps it at least 0.

Shapes: B cases on this rank, S distinct strings, E embedding; after a gather B counts the cases of all ranks.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dermis.distributed import first_own_row, gather_rows
from dermis.losses.contrastive import clip
from dermis.methods import method
from dermis.methods.captions import caption_of_case, embed_pairs
from dermis.recipe import refuse_out_of_range
from dermis.towers.two_tower import TwoTower


@dataclass(kw_only=True)
class CLIPConfig:
    """Settings of CLIP."""

    weight: float = 0.5
    """w of equation (2), on image→text; ConVIRT has 0.75"""
    max_logit_scale: float = 100.0
    """largest s; clamped after each step (paper, Section 2.5)"""
    learn_scale: bool = True
    """train s; if not, it stays as the towers' settings or weights have it"""
    duplicates: Literal["negatives", "shared"] = "negatives"
    """captions that are the same string: each other's negatives (the paper), or one text that all its owners share"""
    chunk: int | None = None
    """rows scored at a time; memory falls from B·B to chunk·B floats, the value does not change"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, above_0=("max_logit_scale",), shares=("weight",))


@method("clip")
class CLIP(nn.Module):
    """Pictures and captions into one space by a softmax over the batch (Radford et al., 2021)."""

    Config = CLIPConfig
    needs = ("image", "caption")
    texts = ("caption",)
    citation = (
        "@inproceedings{radford2021learning, title={Learning Transferable Visual Models From Natural Language "
        "Supervision}, author={Radford, Alec and Kim, Jong Wook and Hallacy, Chris and others}, booktitle={ICML}, "
        "year={2021}}"
    )

    def __init__(self, model: TwoTower, config: CLIPConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        model.logit_scale.requires_grad_(config.learn_scale)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (1): ``image`` and ``text``, (B, E) each, of unit length; the caption's row for each case."""
        return embed_pairs(self.model, batch)

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (2) for this rank's cases among those of all ranks; beside it s and the mean cosine of the pairs."""
        image_BE, text_BE = embeddings["image"], embeddings["text"]
        cases = len(image_BE)
        same_text_B = None
        if self.config.duplicates == "shared":
            same_text_B = gather_rows(batch["text_hash_S"][caption_of_case(batch)])
        scale = self.model.logit_scale.exp()
        with torch.autocast(image_BE.device.type, enabled=False):
            loss = clip(
                gather_rows(image_BE),
                gather_rows(text_BE),
                scale,
                weight=self.config.weight,
                chunk=self.config.chunk,
                first=first_own_row(cases),
                rows=cases,
                same_text_B=same_text_B,
            )
        paired = (image_BE * text_BE).sum(1).mean()
        return {"loss": loss, "logit_scale": scale.detach(), "paired_cosine": paired.detach()}

    def after_step(self, step: int) -> None:
        """Equation (3): s stays at or below its largest value, if it is trained."""
        if self.config.learn_scale:
            with torch.no_grad():
                self.model.logit_scale.clamp_(max=math.log(self.config.max_logit_scale))

    def encode_image(self, image_BCHW: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pictures -> (B, E)."""
        return self.model.encode_image(image_BCHW, normalize)

    def encode_text(self, tokens: Tensor, offsets_S1: Tensor, normalize: bool = False) -> Tensor:
        """Ragged texts -> (S, E)."""
        return self.model.encode_text(tokens, offsets_S1, normalize)
