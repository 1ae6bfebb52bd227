"""SigLIP -- Sigmoid Loss for Language Image Pre-Training (Zhai et al., ICCV 2023).

Paper    https://arxiv.org/abs/2303.15343, Algorithm 1, Sections 3.2 and 3.3
Release  google-research/big_vision, trainers/proj/image_text/siglip.py:287-308

Each pair of picture i and caption j is its own yes/no question, so no softmax over the batch is needed:

    u_i = f(x_i) / |f(x_i)|,    v_j = g(t_j) / |g(t_j)|                                          (1)
    L = -1/B Σ_i Σ_j log σ( y_ij (s u_i·v_j + b) ),    y_ij = +1 if i = j, else -1               (2)
    s = e^{logit_scale} and b = logit_bias, trained; s = 10 and b = -10 at step 0                (3)

Differs from the release:
  1. Captions are gathered from all ranks and each rank scores its own pictures only, where the release lets XLA shard
     the whole matrix and the paper passes chunks from device to device. Same value, same gradient.
  2. A string that several cases share is encoded once. ``duplicates`` says what it then is to its twin.
  3. The towers bring s and b (equation 3 is a setting of theirs), so that trained weights keep their own.

Shapes: B cases on this rank, S distinct strings, E embedding; after a gather B counts the cases of all ranks.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dermis.distributed import first_own_row, gather_rows
from dermis.losses.contrastive import siglip
from dermis.methods import method
from dermis.methods.captions import caption_of_case, embed_pairs
from dermis.towers.two_tower import TwoTower


@dataclass(kw_only=True)
class SigLIPConfig:
    """Settings of SigLIP."""

    learn_scale: bool = True
    """train s and b; if not, they stay as the towers' settings or weights have them"""
    duplicates: Literal["negatives", "shared"] = "negatives"
    """captions that are the same string: each other's negatives (the paper), or positives of all their owners"""
    chunk: int | None = None
    """pictures scored at a time; memory falls from B·B to chunk·B floats, the value does not change"""


@method("siglip")
class SigLIP(nn.Module):
    """Pictures and captions into one space by a sigmoid for each pair (Zhai et al., 2023)."""

    Config = SigLIPConfig
    needs = ("image", "caption")
    texts = ("caption",)
    citation = (
        "@inproceedings{zhai2023sigmoid, title={Sigmoid Loss for Language Image Pre-Training}, author={Zhai, Xiaohua "
        "and Mustafa, Basil and Kolesnikov, Alexander and Beyer, Lucas}, booktitle={ICCV}, year={2023}}"
    )

    def __init__(self, model: TwoTower, config: SigLIPConfig) -> None:
        """Raises ValueError if the towers have no ``logit_bias``."""
        super().__init__()
        if model.logit_bias is None:
            raise ValueError(
                "siglip needs towers with a logit_bias, and these have none: set logit_bias_init (the paper has -10) "
                "and logit_scale_init (the paper has 10) of the towers."
            )
        self.model, self.config = model, config
        model.logit_scale.requires_grad_(config.learn_scale)
        model.logit_bias.requires_grad_(config.learn_scale)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (1): ``image`` and ``text``, (B, E) each, of unit length; the caption's row for each case."""
        return embed_pairs(self.model, batch)

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (2) for this rank's pictures; beside it s, b and the mean cosine of the pairs."""
        image_BE, text_BE = embeddings["image"], embeddings["text"]
        cases = len(image_BE)
        same_text_B = None
        if self.config.duplicates == "shared":
            same_text_B = gather_rows(batch["text_hash_S"][caption_of_case(batch)])
        scale, bias = self.model.logit_scale.exp(), self.model.logit_bias
        assert bias is not None
        with torch.autocast(image_BE.device.type, enabled=False):
            loss = siglip(
                gather_rows(image_BE),
                gather_rows(text_BE),
                scale,
                bias,
                chunk=self.config.chunk,
                first=first_own_row(cases),
                rows=cases,
                same_text_B=same_text_B,
            )
        return {
            "loss": loss,
            "logit_scale": scale.detach(),
            "logit_bias": bias.detach().clone(),
            "paired_cosine": (image_BE * text_BE).sum(1).mean().detach(),
        }

    def encode_image(self, image_BCHW: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pictures -> (B, E)."""
        return self.model.encode_image(image_BCHW, normalize)

    def encode_text(self, tokens: Tensor, offsets_S1: Tensor, normalize: bool = False) -> Tensor:
        """Ragged texts -> (S, E)."""
        return self.model.encode_text(tokens, offsets_S1, normalize)
