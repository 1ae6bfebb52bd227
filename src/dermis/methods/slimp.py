"""SLIMP -- Nested multi-modal contrast of skin lesions, their metadata and their patients (arXiv 2505.23709).

Paper    its abstract, figures and reviews; no full text and no code at the time of writing. What is ours is marked.
Release  none

A picture of a lesion finds the lesion's table, and what a patient's lesions have in common finds the patient's table:

    u_i = a(f(x_i)),    v_i = b(t(m_i))                                     lesion i: picture, table
    w_p = c(pool of [f(x_i), t(m_i)] over the lesions i of patient p),      phenotype
    q_p = d(s(n_p))                                                         the patient's table
    L_lesions = InfoNCE(u, v),    L_patient = InfoNCE(w, q),    both symmetric, cosines over τ       (1)
    L = λ L_lesions + (1 - λ) L_patient                                                              (2)

f is the image tower; t and s are transformers over the columns; a, b, c, d have two layers (ours).
``levels``: ``nested`` is (2). Its rivals: ``flat``, one InfoNCE of pictures and all columns in one table; ``lesion``,
L_lesions alone; ``patient``, L_patient alone, on the pictures' phenotype.

Batches hold P patients with at most L lesions each (``training.batch_size`` patients, ``data.lesions`` of each), no
lesion is padding. Patients of one age and sex have one and the same table, and (2) as printed calls them negatives of
each other: in SLICE-3D 36 tables for 1,042 patients. ``equal_rows: soft`` makes equal tables positives of each other at
both levels, by targets uniform over them. Value and gradient are those of ``literal``, plain InfoNCE, unless
``data.corruption`` tells equal tables apart: one tower gives equal tables equal vectors, and the sum over anchors is
the same. ``once`` is another loss: a table counts once, and scores the mean probability over all that own it.

``continual`` goes on with another schema, as the reviews say: the embedding layers of pictures and columns, and the
projections, learn; attention (blocks and their last norm) stays as ``model.weights`` has it. Columns are drawn anew.

Open in the paper, chosen by us: τ = 0.1, λ = 0.5, P = 32, L = 16, projections to 128, the towers' sizes. The authors
sample malignant lesions first, which uses labels: ``data.draw_first``, off by default.

Shapes: B lesions on this rank, P patients on this rank, N and M of all ranks, D and W features, E projection.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dermis.distributed import gather_ragged, world_size
from dermis.losses.nested import info_nce, nested
from dermis.losses.precision import at_least_float32
from dermis.methods import method
from dermis.methods.continual import keep_attention
from dermis.methods.tables import CASE, TableSettings, add_tables, go_on
from dermis.recipe import refuse_out_of_range
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig
from dermis.towers.pooling import Pooling

LEVELS = {"nested": ("lesion", "patient"), "flat": (CASE,), "lesion": ("lesion",), "patient": ("patient",)}


@dataclass(kw_only=True)
class SLIMPConfig(TableSettings):
    """Settings of SLIMP."""

    levels: Literal["nested", "flat", "lesion", "patient"] = "nested"
    """what is contrasted: both levels, all columns as one table, or one level alone"""
    weight: float = 0.5
    """λ, of the lesions; nested only"""
    temperature: float = 0.1
    """τ"""
    projection: int = 128
    """width of the spaces"""
    pooling: Pooling = "mean"
    """how lesions become a phenotype: their mean, their largest value a feature, or a learnt weighting"""
    equal_rows: Literal["soft", "once", "literal"] = "soft"
    """equal tables of different lesions or patients: positives of each other, one table of all, or negatives"""
    same_patient: Literal["negatives", "excluded"] = "negatives"
    """lesions of one patient: each other's negatives, or left out of each other's denominators"""
    continual: bool = False
    """go on from model.weights with another schema: embeddings and projections learn, attention stays"""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_out_of_range(self, above_0=("temperature",), at_least_1=("projection",), shares=("weight",))
        if self.weight != 0.5 and self.levels != "nested":
            raise ValueError(f"weight has no effect with levels {self.levels}: it mixes the two of nested.")
        if self.pooling != "mean" and self.levels not in ("nested", "patient"):
            raise ValueError(f"pooling has no effect with levels {self.levels}: no phenotype is pooled.")
        if self.same_patient != "negatives" and self.levels == "patient":
            raise ValueError("same_patient has no effect with levels patient: lesions are not contrasted.")


@method("slimp")
class SLIMP(nn.Module):
    """A lesion's picture finds its table; a patient's lesions together find the patient's (SLIMP)."""

    Config = SLIMPConfig
    Towers = BranchesConfig
    needs = ("image",)
    citation = (
        "@article{slimp2025, title={SLIMP: Skin Lesion Image-Metadata Pre-training}, journal={arXiv:2505.23709}, "
        "year={2025}}"
    )

    def __init__(self, model: Branches, config: SLIMPConfig) -> None:
        """Raises ValueError for tables that do not fit ``levels``, or a start that does not fit the tables."""
        super().__init__()
        self.model, self.config, self.tables = model, config, config.tables
        before = add_tables(model, config, self.table_levels(config), width=config.projection, pooling=config.pooling)
        self.notes: list[str] = []
        if config.continual:
            self.notes.append(keep_attention(model, before))
        else:
            go_on(model, before)

    @staticmethod
    def table_levels(config: SLIMPConfig) -> tuple[str, ...]:
        """The levels whose tables it reads."""
        return LEVELS[config.levels]

    @property
    def draws_patients(self) -> bool:
        """Does it need several lesions of a patient in a batch?"""
        return "patient" in self.tables

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """f(x) as ``image`` (B, D), and t(m) as ``lesion`` or ``case`` (B, W)."""
        tables: Any = self.model.parts["tables"]
        found = {"image": self.model.encode_first_views(batch)}
        return found | {level: tables.encode(level, batch) for level in tables.dims if level != "patient"}

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (2) for this rank's lesions and patients among those of all ranks; beside it its terms."""
        c, level = self.config, next((name for name in embeddings if name != "image"), None)
        lesions = None if level is None else self._lesions(embeddings, batch, level)
        patients = self._patients(embeddings, batch) if self.draws_patients else None
        shared = "once" if c.equal_rows == "once" else "soft"
        with torch.autocast(embeddings["image"].device.type, enabled=False):
            if lesions and patients:
                out = nested(
                    lesions.x,
                    lesions.y,
                    gather_ragged(batch["patient_B"])[0],
                    patients.x,
                    patients.y,
                    c.temperature,
                    weight=c.weight,
                    same_patient=c.same_patient,
                    shared=shared,
                    lesion_group_N=lesions.equal,
                    lesion_first=lesions.first,
                    lesion_rows=lesions.rows,
                    patient_group_P=patients.equal,
                    patient_first=patients.first,
                    patient_rows=patients.rows,
                    ranks=world_size(),
                )
                return {name: value if name == "loss" else value.detach() for name, value in out.items()}
            one = lesions or patients
            assert one is not None
            apart_N = gather_ragged(batch["patient_B"])[0] if c.same_patient == "excluded" else None
            loss = info_nce(
                one.x,
                one.y,
                c.temperature,
                shared_N=one.equal,
                shared=shared,
                excluded_N=apart_N,
                first=one.first,
                rows=one.rows,
                ranks=world_size(),
            )
            return {"loss": loss}

    def _lesions(self, h: dict[str, Tensor], batch: dict[str, Tensor], level: str) -> "Sides":
        spaces: Any = self.model.parts["spaces"]
        u_BE, v_BE = spaces.project("image", h["image"]), spaces.project(level, h[level])
        return self._of_all_ranks(u_BE, v_BE, batch[f"{level}_same_B"])

    def _patients(self, h: dict[str, Tensor], batch: dict[str, Tensor]) -> "Sides":
        spaces: Any = self.model.parts["spaces"]
        tables: Any = self.model.parts["tables"]
        first_P, patient_B = first_of_each(batch["patient_B"])
        of_patient = {name: rows[first_P] for name, rows in batch.items() if name.startswith("patient_")}
        w_PE = spaces.phenotype(h["image"], h.get("lesion"), patient_B, len(first_P))
        q_PE = spaces.project("patient", tables.encode("patient", of_patient))
        return self._of_all_ranks(w_PE, q_PE, of_patient["patient_same_B"])

    def _of_all_ranks(self, x_BE: Tensor, y_BE: Tensor, same_B: Tensor) -> "Sides":
        x_NE, first = gather_ragged(at_least_float32(x_BE))
        y_NE, _ = gather_ragged(at_least_float32(y_BE))
        equal_N = gather_ragged(same_B)[0] if self.config.equal_rows != "literal" else None
        return Sides(x_NE, y_NE, equal_N, first, len(x_BE))


class Sides(NamedTuple):
    """Both sides of a contrast, the rows of all ranks; which rows have equal tables, and which are this rank's."""

    x: Tensor
    y: Tensor
    equal: Tensor | None
    first: int
    rows: int


def first_of_each(value_B: Tensor) -> tuple[Tensor, Tensor]:
    """Where each distinct value comes first (P,), and for each row which of them it is (B,)."""
    found_P, place_B = value_B.unique(return_inverse=True)
    row_B = torch.arange(len(value_B), device=value_B.device)
    first_P = row_B.new_full((len(found_P),), len(value_B)).scatter_reduce(0, place_B, row_B, "amin")
    return first_P, place_B
