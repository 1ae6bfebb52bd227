"""SM3 -- Self-Supervised Multi-Modality Learning for Multi-Label Skin Lesion Classification (Wang et al., 2023).

Paper    https://arxiv.org/abs/2310.18583, Sections III.B to III.E
Release  Dylan-H-Wang/skin-sm3 at 255038f: tools/backbone_train.py, tools/mlc_train.py, src/models/simclr.py

Stage ``contrast``. Two towers, h = f(dermoscopy) and h' = f'(photograph), two views of each picture. Each modality by
itself, and each pair of one case against the pairs of other cases:

    L_i = -log( e^{z_i¹·z_i²/τ} / (Σ_j e^{z_i¹·z_j²/τ} + Σ_{j≠i} e^{z_i¹·z_j¹/τ}) )                 (1)
    L_derm, L_clinic: the mean of (1) over z = g(h), over z' = g'(h')                               (2, 3)
    L_mm: the mean of (1) over (p¹, p'¹), plus that over (p¹, p'²), with p = c(h), p' = c'(h')      (4)
    L_ssl = L_derm + L_clinic + L_mm                                                                (5)

Stage ``labels``. The towers are frozen. K labels that nobody gave: each label's embeddings e_k are clustered once an
epoch, its cluster is a case's pseudo-label y_k, and the centroids become the rows of the label's head q_k:

    e_1 … e_K = W(p_1([h, h']), …, p_K([h, h'])),    y_k = k-means(e_k),    q_k ← centroids          (7)
    L_ce = Σ_k -log softmax(q_k(e_k))[y_k]                                                          (6)

Rows of the paper's Table II: ``fusion`` concat (a head on [h, h'] in place of c and c'), sep_shared (c = c'), sep_sep,
none (its row SimCLR); ``relation`` no_proj, proj, msa, tel, te.

Differs from the release (``as_released`` computes the release's):
  1. (1) has the anchors z¹ only, as printed; released: both views, 2B anchors.
  2. (4) has dermoscopic anchors only and is a sum, as printed, so it weighs twice as much; released: anchors of both
     modalities, pairs by ``style`` (0: same view; 1: other view; 2: both), the mean over pairs.
  3. Negatives come from all ranks; released: from the own one (two of 48 cases in the paper's 96).
  4. (6) is the sum over labels; released: the mean.
  5. The first memory is filled in evaluation mode; released: in training mode, with dropout, which also moves the
     frozen towers' batch statistics once.
  6. Both: the memory e that is clustered holds what training saw last, for most cases in the epoch before (cases that
     fill no whole batch wait). k-means is the release's
     (``losses.kmeans``, metric "dot"), on at most ``sample`` cases; ``metric: euclid`` is Lloyd's.
  7. Each view passes through its tower by itself and through g together with the other, so batch statistics are those
     of the release on one device; on several they are each rank's own (released: synchronised).
  8. te has 6 layers and msa neither residual nor norm: the paper says neither, the release has no code for them.

Shapes: B cases on this rank, N training cases, L labels, W width of a label's embedding, D of a tower.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.batch.slices import to_device
from dermis.distributed import first_own_row, gather_rows
from dermis.losses.clustering import kmeans
from dermis.losses.contrastive import nt_xent
from dermis.losses.cross_modal import cross_modal
from dermis.losses.precision import at_least_float32
from dermis.methods import method
from dermis.recipe import refuse_out_of_range
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig
from dermis.towers.freeze import freeze
from dermis.towers.label_heads import LabelHeads, Relation, refuse_without_effect
from dermis.towers.projection import projection

PAIRING = ("sep_shared", "sep_sep")
"""the fusions with heads that pair the modalities"""


@dataclass(kw_only=True)
class SM3Config:
    """Settings of SM3."""

    fusion: Literal["none", "concat", "sep_shared", "sep_sep"] = "sep_sep"
    """how the modalities meet in the contrast: not at all, side by side, by one head, by a head each"""
    style: Literal[0, 1, 2] = 0
    """as_released only: views that are paired across modalities, the same, the other, or both"""
    temperature: float = 0.1
    """τ of (1) and (4)"""
    projection: int = 128
    """width of z and p"""
    relation: Relation = "tel"
    """W of (7), and whether there are p_k"""
    clusters: list[int] = field(default_factory=lambda: [5, 3, 2, 3, 3, 3, 3, 2])
    """clusters of each label: classes of Derm7pt's diagnosis and seven findings"""
    width: int = 512
    """of a label's embedding"""
    heads: int = 1
    """attention heads of W"""
    feedforward: int = 128
    """hidden width of W's Transformer layers"""
    layers: int = 6
    """Transformer layers of `te`"""
    dropout: float = 0.1
    """in W"""
    metric: Literal["dot", "euclid"] = "dot"
    """what k-means compares by"""
    sample: int = 16_384
    """cases that k-means moves its centroids by; all are assigned afterwards"""
    as_released: bool = False
    """compute what the release computes (differences 1 to 5)"""

    def __post_init__(self) -> None:
        sizes = ("projection", "width", "heads", "feedforward", "layers", "sample")
        refuse_out_of_range(self, above_0=("temperature",), at_least_1=sizes)
        if min(self.clusters, default=0) < 1:
            raise ValueError(f"clusters are 1 or more of each label, not {self.clusters}.")
        if self.style and not (self.as_released and self.fusion in PAIRING):
            raise ValueError("style has an effect with as_released and fusion sep_shared or sep_sep only; leave it 0.")
        refuse_without_effect(self)


@method("sm3")
class SM3(nn.Module):
    """Dermoscopy and photograph of a lesion find each other; labels come from clusters (Wang et al., 2023)."""

    Config = SM3Config
    Towers = BranchesConfig
    needs = ("image", "dermoscopy")
    stages = ("contrast", "labels")
    citation = (
        "@article{wang2023sm3, title={Self-Supervised Multi-Modality Learning for Multi-Label Skin Lesion "
        "Classification}, author={Wang, Hao and Ahn, Euijoon and Bi, Lei and Kim, Jinman}, "
        "journal={arXiv:2310.18583}, year={2023}}"
    )
    memory_NLW: Tensor  # noqa: N815 (shapes are in the names)
    known_N: Tensor  # noqa: N815
    cluster_NL: Tensor  # noqa: N815

    def __init__(self, model: Branches, config: SM3Config) -> None:
        """Raises ValueError if ``model`` does not look at two pictures."""
        super().__init__()
        if len(model.pictures) != 2:
            raise ValueError("sm3 pairs two pictures of a case, and this model looks at one: set model.paired.")
        self.model, self.config, self.stage = model, config, "contrast"
        head = partial(projection, "simclr-released", width=config.projection)
        self.own = nn.ModuleDict({name: head(dim=dim) for name, dim in model.dims.items()})
        if config.fusion == "concat":
            self.together = head(dim=model.dim)
        elif config.fusion in PAIRING:
            model.add("pair", width=config.projection, shared=config.fusion == "sep_shared")

    @property
    def views(self) -> int:
        """Views of each picture that the stage wants."""
        return 2 if self.stage == "contrast" else 1

    def start_stage(self, stage: str) -> None:
        """What ``forward`` does from now on; in ``labels`` the heads alone learn."""
        assert stage in self.stages
        self.stage = stage
        if stage == "labels":
            c = self.config
            freeze(self)
            self.model.add("labels", classes=c.clusters, relation=c.relation, width=c.width, heads=c.heads,
                           feedforward=c.feedforward, layers=c.layers, dropout=c.dropout, bias=False)  # fmt: skip

    def start_training(self, steps: int, cases: int) -> None:
        """Room for the embeddings and the clusters of all ``cases``."""
        if self.stage == "labels":
            device = next(self.parameters()).device
            labels, c = self._labels, self.config
            one = c.relation == "no_proj"
            shape = (cases, 1, self.model.dim) if one else (cases, len(c.clusters), c.width)
            self.register_buffer("memory_NLW", torch.zeros(shape, device=device))
            self.register_buffer("known_N", torch.zeros(cases, dtype=torch.bool, device=device))
            self.register_buffer("cluster_NL", torch.full((cases, len(labels.heads)), -1, device=device))

    @property
    def _labels(self) -> LabelHeads:
        heads = self.model.parts["labels"]
        assert isinstance(heads, LabelHeads)
        return heads

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The towers' features (B, D) of each view, as ``dermoscopy1``, ``image2``, ….

        Heads come after it, so that accumulation keeps their batch statistics those of the whole batch.
        """
        return self.model.encode_views(batch)

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (5) or (6), by stage; beside it its terms."""
        return self._contrast(embeddings) if self.stage == "contrast" else self._pseudo_labels(embeddings, batch)

    def _contrast(self, h: dict[str, Tensor]) -> dict[str, Tensor]:
        c, cases = self.config, len(h["image1"])
        first, rows = (0, None) if c.as_released else (first_own_row(cases), cases)
        variant = "symmetric" if c.as_released else "view1"
        apart, paired = self._apart(h), self._paired(h)
        with torch.autocast(h["image1"].device.type, enabled=False):
            terms = {}
            for name, views in apart.items():
                z1_BE, z2_BE = self._all_cases(views)
                terms[name] = nt_xent(z1_BE, z2_BE, c.temperature, variant=variant, first=first, rows=rows)
            if paired:
                variant = "released" if c.as_released else "paper"
                d1_BE, c1_BE, d2_BE, c2_BE = self._all_cases(paired)
                terms["cross"] = cross_modal(
                    d1_BE, c1_BE, d2_BE, c2_BE, c.temperature, style=c.style, variant=variant, first=first, rows=rows
                )
        loss = torch.stack(list(terms.values())).sum()
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def _apart(self, h: dict[str, Tensor]) -> dict[str, Sequence[Tensor]]:
        """The two views' projections z by each modality's own head; with concat also by the head of both."""
        pictures = self.model.pictures
        z = {name: self.own[name](torch.cat([h[f"{name}1"], h[f"{name}2"]])).chunk(2) for name in pictures}
        if self.config.fusion == "concat":
            both = [torch.cat([h[f"{name}{v}"] for name in pictures], dim=1) for v in (1, 2)]
            z["cross"] = self.together(torch.cat(both)).chunk(2)
        return z

    def _paired(self, h: dict[str, Tensor]) -> list[Tensor]:
        """Projections p into the space of both modalities: dermoscopy 1, photograph 1, dermoscopy 2, photograph 2."""
        if self.config.fusion not in PAIRING:
            return []
        return [self.model.parts["pair"](name, h[f"{name}{v}"]) for v in (1, 2) for name in self.model.pictures]

    def _all_cases(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """The rows of all ranks, in float32; as released the own ones (difference 3)."""
        return [full if self.config.as_released else gather_rows(full) for full in map(at_least_float32, rows)]

    def _pseudo_labels(self, h: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        e_BLW = self._labels.embed(torch.cat([h[f"{name}1"] for name in self.model.pictures], dim=1))
        cluster_BL = self.cluster_NL[batch["row_B"]]
        terms = [
            F.cross_entropy(at_least_float32(logits_BC), y_B, ignore_index=-1)
            for logits_BC, y_B in zip(self._labels.logits(e_BLW), cluster_BL.unbind(1), strict=True)
        ]
        self._remember(gather_rows(batch["row_B"]), gather_rows(e_BLW.detach()))
        total = torch.stack(terms)
        return {"loss": total.mean() if self.config.as_released else total.sum()}

    @torch.no_grad()
    def _remember(self, row_B: Tensor, e_BLW: Tensor) -> None:
        self.memory_NLW[row_B] = at_least_float32(e_BLW)
        self.known_N[row_B] = True

    @torch.no_grad()
    def start_epoch(self, epoch: int, batches: Any) -> None:
        """Cluster what the epoch before left in memory; before the first epoch all cases are looked at once."""
        if self.stage != "labels":
            return
        if epoch == 0:
            self.eval()
            if self.config.as_released:  # difference 5: nn.Module's own train, which frozen towers do not escape
                nn.Module.train(self.model)
            for batch in batches.in_order():  # every rank looks at all cases, so that statistics move alike
                batch.pop("quarantined")
                batch = to_device(batch, self.memory_NLW.device)
                h = self.embed(batch)
                h_BD = torch.cat([h[f"{name}1"] for name in self.model.pictures], dim=1)
                self._remember(batch["row_B"], self._labels.embed(h_BD))
        known_M = self.known_N.nonzero().squeeze(1)
        draws = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        for k, head in enumerate(self._labels.heads):
            points_MW = self.memory_NLW[known_M, k if self.memory_NLW.shape[1] > 1 else 0]
            count = self.config.clusters[k]
            init = gather_rows(torch.randperm(len(points_MW), device=points_MW.device)[:count])[:count]  # rank 0's
            found_M, centroid_KW = kmeans(points_MW, count, init_indices=init, metric=self.config.metric,
                                          sample=self.config.sample, generator=draws)  # fmt: skip
            # rank 0's: sums on a GPU come in any order, and all ranks must mean the same clusters
            self.cluster_NL[known_M, k] = gather_rows(found_M)[: len(found_M)]
            head.get_parameter("weight").copy_(gather_rows(centroid_KW)[:count])
