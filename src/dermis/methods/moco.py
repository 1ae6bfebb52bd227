"""MoCo v2 -- Improved Baselines with Momentum Contrastive Learning (Chen et al., 2020).

Paper    https://arxiv.org/abs/2003.04297 (v2: head, blur, cosine); https://arxiv.org/abs/1911.05722 (equations)
Release  facebookresearch/moco at a419ef2, moco/builder.py

A view finds the other view of its picture among the keys of earlier batches:

    q = g(f(x¹)),    k = g_k(f_k(x²)) without gradient
    L = mean_i -log( e^{q_i·k_i/τ} / (e^{q_i·k_i/τ} + Σ_j e^{q_i·u_j/τ}) ),    u the queue           (1)
    θ_k ← m θ_k + (1 - m) θ_q after each step; then the batch's keys replace the oldest of the queue (2)

On cases with two pictures a tower, a head and a queue are kept for each, side by side, as in ``simclr``.

Differs from the release:
  1. Keys are not shuffled over ranks before their batch norm (the release's ShuffleBN): with several ranks and towers
     that have batch statistics, a rank's keys and queries share none of the others' either.
  2. Equation (2) moves after the step instead of before the next forward pass: the same numbers.
  3. The queue need not be a multiple of the batch. The paper's 65,536 keys suit a million pictures; with fewer pictures
     than keys a picture meets its own old keys as negatives, so the default is 4,096.

Shapes: B cases on this rank, D features, E projection, Q keys in the queue.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dermis.distributed import gather_rows, lerp, world_size
from dermis.losses.moco import moco
from dermis.losses.precision import at_least_float32
from dermis.methods import method
from dermis.recipe import refuse_out_of_range
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig
from dermis.towers.projection import projection


@dataclass(kw_only=True)
class MoCoConfig:
    """Settings of MoCo v2."""

    temperature: float = 0.2
    """τ"""
    momentum: float = 0.999
    """m of (2), per step"""
    queue: int = 4096
    """keys that are kept; at least the batch of all ranks"""
    projection: int = 128
    """width of q and k"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, above_0=("temperature",), at_least_1=("queue", "projection"))
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum lies in [0, 1), not {self.momentum}.")


@method("moco")
class MoCo(nn.Module):
    """A view finds its twin among a queue of keys of a slowly moving copy (Chen et al., 2020)."""

    Config = MoCoConfig
    Towers = BranchesConfig
    needs = ("image",)
    views = 2
    citation = (
        "@article{chen2020improved, title={Improved Baselines with Momentum Contrastive Learning}, author={Chen, "
        "Xinlei and Fan, Haoqi and Girshick, Ross and He, Kaiming}, journal={arXiv:2003.04297}, year={2020}}"
    )
    oldest: Tensor
    key_towers: nn.ModuleDict

    def __init__(self, model: Branches, config: MoCoConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.heads = nn.ModuleDict(
            {name: projection("moco", dim, config.projection) for name, dim in model.dims.items()}
        )
        self.key_towers = deepcopy(model.picture_towers).requires_grad_(False)
        self.key_heads = deepcopy(self.heads).requires_grad_(False)
        for name in model.pictures:
            self.register_buffer(f"queue_{name}_EQ", torch.randn(config.projection, config.queue))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.int64))
        self.fresh: dict[str, Tensor] = {}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Queries and keys of each picture (B, E), as ``image1`` and ``image2``; the loss gives them unit length."""
        found = {}
        for picture in self.model.pictures:
            first_BCHW, second_BCHW = batch[f"{picture}_BVCHW"].unbind(1)
            found[f"{picture}1"] = at_least_float32(self.heads[picture](self.model.encode(picture, first_BCHW)))
            with torch.no_grad():
                tower: Any = self.key_towers[picture]
                key_BD = tower.features(second_BCHW).pooled_BD
                found[f"{picture}2"] = at_least_float32(self.key_heads[picture](key_BD))
        return found

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (1), summed over the pictures of a case; the keys wait for ``after_step``.

        Raises ValueError if the queue cannot hold a batch.
        """
        if (rows := world_size() * len(embeddings["image1"])) > self.config.queue:
            size = self.config.queue
            raise ValueError(f"a queue of {size} keys cannot hold a batch of {rows}: set method.queue to more.")
        terms = {}
        for picture in self.model.pictures:
            query_BE, key_BE = embeddings[f"{picture}1"], embeddings[f"{picture}2"].detach()
            with torch.autocast(query_BE.device.type, enabled=False):
                terms[picture] = moco(query_BE, key_BE, self.queue(picture), self.config.temperature)
            self.fresh[picture] = gather_rows(key_BE)
        return {"loss": torch.stack(list(terms.values())).sum(), **{n: term.detach() for n, term in terms.items()}}

    def queue(self, picture: str) -> Tensor:
        """The keys of earlier batches (E, Q)."""
        return self.get_buffer(f"queue_{picture}_EQ")

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Equation (2)."""
        for own, key in ((self.model.picture_towers, self.key_towers), (self.heads, self.key_heads)):
            lerp(key.parameters(), own.parameters(), 1 - self.config.momentum)
        size = self.config.queue
        rows = len(next(iter(self.fresh.values())))
        place_B = (self.oldest + torch.arange(rows, device=self.oldest.device)) % size
        for picture, key_BE in self.fresh.items():
            self.queue(picture)[:, place_B] = key_BE.T
        self.oldest.copy_((self.oldest + rows) % size)
        self.fresh = {}
