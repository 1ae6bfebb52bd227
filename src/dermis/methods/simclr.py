"""SimCLR -- A Simple Framework for Contrastive Learning of Visual Representations (Chen et al., ICML 2020).

Paper    https://arxiv.org/abs/2002.05709, Section 2.1, equation (1)
Release  google-research/simclr (TensorFlow); sthalles/SimCLR at 1848fc9 (PyTorch, not by the authors)

Two augmented views of a picture find each other among all views of the batch:

    h = f(x),    z = g(h)
    L = mean over the 2B views a of -log( e^{cos(z_a, z_p)/τ} / Σ_{b≠a} e^{cos(z_a, z_b)/τ} )       (1)
    p = the other view of a's picture

On cases with two pictures a tower and a head learn from each, side by side; nothing joins them but the sum of their
losses. That is the row SimCLR of SM3's tables: features trained apart, put side by side afterwards.

Differs from the release:
  1. AdamW by default, where the paper has LARS at batches of thousands.
  2. Negatives are gathered from all ranks and each rank scores its own rows; value and gradient are the whole batch's.
     Batch statistics are each rank's own, those of the towers each view's own.
  3. ``head: simclr-released`` is the three-layer head of SM3's release (towers/projection.py).

Shapes: B cases on this rank, D features, E projection.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dermis.distributed import first_own_row, gather_rows
from dermis.losses.contrastive import nt_xent
from dermis.losses.precision import at_least_float32
from dermis.methods import method
from dermis.recipe import refuse_out_of_range
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig
from dermis.towers.projection import projection


@dataclass(kw_only=True)
class SimCLRConfig:
    """Settings of SimCLR."""

    temperature: float = 0.1
    """τ"""
    projection: int = 128
    """width of z"""
    head: Literal["simclr", "simclr-released"] = "simclr"
    """g: two layers, or the three of SM3's release"""
    chunk: int | None = None
    """views scored at a time; memory falls from 4 B·B to 2 chunk·B floats, the value does not change"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, above_0=("temperature",), at_least_1=("projection",))


@method("simclr")
class SimCLR(nn.Module):
    """Two views of a picture find each other among all of the batch (Chen et al., 2020)."""

    Config = SimCLRConfig
    Towers = BranchesConfig
    needs = ("image",)
    views = 2
    citation = (
        "@inproceedings{chen2020simple, title={A Simple Framework for Contrastive Learning of Visual Representations}, "
        "author={Chen, Ting and Kornblith, Simon and Norouzi, Mohammad and Hinton, Geoffrey}, booktitle={ICML}, "
        "year={2020}}"
    )

    def __init__(self, model: Branches, config: SimCLRConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.heads = nn.ModuleDict(
            {name: projection(config.head, dim, config.projection) for name, dim in model.dims.items()}
        )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The towers' features (B, D) of each view, as ``image1``, ``image2``.

        Heads come after it, so that accumulation keeps their batch statistics those of the whole batch.
        """
        return self.model.encode_views(batch)

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (1) for this rank's cases among those of all ranks, summed over the pictures of a case."""
        terms = {}
        for picture in self.model.pictures:
            h1_BD, h2_BD = embeddings[f"{picture}1"], embeddings[f"{picture}2"]
            z_NE = self.heads[picture](torch.cat([h1_BD, h2_BD]))
            with torch.autocast(h1_BD.device.type, enabled=False):
                z1_BE, z2_BE = map(gather_rows, at_least_float32(z_NE).chunk(2))
                terms[picture] = nt_xent(
                    z1_BE,
                    z2_BE,
                    self.config.temperature,
                    chunk=self.config.chunk,
                    first=first_own_row(len(h1_BD)),
                    rows=len(h1_BD),
                )
        return {"loss": torch.stack(list(terms.values())).sum(), **{n: term.detach() for n, term in terms.items()}}
