"""CLIP and SigLIP between a picture and its table: the flat rivals of SLIMP with their own losses.

Paper    CLIP https://arxiv.org/abs/2103.00020 (methods/clip.py), SigLIP https://arxiv.org/abs/2303.15343
         (methods/siglip.py); image and table as in MMCL (Hager et al., CVPR 2023, https://arxiv.org/abs/2303.14080)
Release  none of the two with a table

    u_i = a(f(x_i)) / |a(f(x_i))|,    v_i = b(t(m_i)) / |b(t(m_i))|          m_i: all columns of the case
    L = CLIP's softmax or SigLIP's sigmoid of s u_i·v_j (+ b)                                        (1)
    s = e^{logit_scale}, trained, at most 100;  at step 0 s is 1/0.07, or s = 10 and b = -10 (SigLIP)

Differs from the papers: the other side is a row of a table; ``equal_rows`` says what rows that read alike are to each
other. SLIMP's ``levels: flat`` is this with a fixed temperature, and with patients drawn as SLIMP draws them.

Shapes: B cases on this rank, D and W features, E projection.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.distributed import first_own_row, gather_rows
from dermis.losses.contrastive import clip, siglip
from dermis.losses.precision import at_least_float32
from dermis.methods import method
from dermis.methods.tables import CASE, TableSettings, add_tables, go_on
from dermis.recipe import refuse_out_of_range
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig

START = {"clip": (1 / 0.07, 0.0), "siglip": (10.0, -10.0)}
"""loss -> s and b at step 0"""
MAX_SCALE = 100.0


@dataclass(kw_only=True)
class TableCLIPConfig(TableSettings):
    """Settings of CLIP and SigLIP with a table."""

    loss: Literal["clip", "siglip"] = "clip"
    """a softmax over the batch, or a yes/no question for each pair"""
    projection: int = 128
    """width of the common space"""
    equal_rows: Literal["once", "literal"] = "literal"
    """cases whose tables read alike: one table of all, as ``duplicates: shared`` of the texts' pages, or negatives"""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_out_of_range(self, at_least_1=("projection",))


@method("table_clip")
class TableCLIP(nn.Module):
    """Pictures and tables into one space, by CLIP's or SigLIP's loss."""

    Config = TableCLIPConfig
    Towers = BranchesConfig
    needs = ("image",)
    citation = (
        "@inproceedings{hager2023best, title={Best of Both Worlds: Multimodal Contrastive Learning with Tabular and "
        "Imaging Data}, author={Hager, Paul and Menten, Martin J and Rueckert, Daniel}, booktitle={CVPR}, year={2023}}"
    )

    def __init__(self, model: Branches, config: TableCLIPConfig) -> None:
        """Raises ValueError for tables that are not one table, or a start that does not fit it."""
        super().__init__()
        self.model, self.config, self.tables = model, config, config.tables
        go_on(model, add_tables(model, config, self.table_levels(config), width=config.projection))
        scale, bias = START[config.loss]
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.logit_bias = nn.Parameter(torch.tensor(bias), requires_grad=config.loss == "siglip")

    @staticmethod
    def table_levels(config: TableCLIPConfig) -> tuple[str, ...]:
        """The levels whose tables it reads: one, of all columns."""
        return (CASE,)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """u and v as ``image`` and ``table`` (B, E), of unit length."""
        tables: Any = self.model.parts["tables"]
        spaces: Any = self.model.parts["spaces"]
        sides = {"image": self.model.encode_first_views(batch), CASE: tables.encode(CASE, batch)}
        u_BE, v_BE = (F.normalize(at_least_float32(spaces.project(name, h)), dim=-1) for name, h in sides.items())
        return {"image": u_BE, "table": v_BE}

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (1) for this rank's cases among those of all ranks; beside it s."""
        u_BE, v_BE = gather_rows(embeddings["image"]), gather_rows(embeddings["table"])
        own = {"first": first_own_row(len(embeddings["image"])), "rows": len(embeddings["image"])}
        same_B = gather_rows(batch[f"{CASE}_same_B"]) if self.config.equal_rows == "once" else None
        scale = self.logit_scale.exp()
        with torch.autocast(u_BE.device.type, enabled=False):
            if self.config.loss == "siglip":
                loss = siglip(u_BE, v_BE, scale, self.logit_bias, same_text_B=same_B, **own)
            else:
                loss = clip(u_BE, v_BE, scale, same_text_B=same_B, **own)
        return {"loss": loss, "logit_scale": scale.detach()}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """s stays at or below its largest value."""
        self.logit_scale.clamp_(max=math.log(MAX_SCALE))
