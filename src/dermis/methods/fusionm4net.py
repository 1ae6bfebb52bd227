"""FusionM4Net, first stage (FM4-FS) -- A multi-stage multi-modal learning algorithm (Tang et al., MedIA 2022).

Paper    Medical Image Analysis 76, 102307, https://doi.org/10.1016/j.media.2021.102307, the first stage
Release  pixixiaonaogou/MLSDR at 2f5f2eb (no licence), model.py, main_cmv2.py, second_stage_fusion_utils.py

Two towers, h_d = f(dermoscopy) and h_c = f'(photograph). Fusion of features: a third branch sees their sum. Each branch
has a perceptron g and a head q_l for each of the L labels:

    u_f = g_f(h_d + h_c),    u_d = g_d(h_d),    u_c = g_c(h_c)                                        (1)
    L_k = mean_l CE(q_kl(u_k), y_l),    k ∈ {f, d, c}                                                 (2)
    L = (L_f + L_d + L_c) / 3                                                                         (3)

Fusion of decisions ("Fusion Scheme 1"): the branches' probabilities are mixed with weights that are searched on the
validation cases, the same for all labels:

    P_l = w_f P_fl + w_d P_dl + w_c P_cl,    w_k > 0,    Σ_k w_k = 1                                  (4)
    w = argmax mean_l accuracy(P_l, y_l)                                                              (5)

Before ``choose_on_valid`` the weights are thirds. The second stage, with metadata, is
``dermis.evaluation.fusion_second_stage``. "FM4-FS + SM3" of SM3's Table I starts from SM3's towers:
`dermis train fusionm4net --model.weights local-dir:runs/sm3/model`.

Differs from the release:
  1. (3) is the mean; there 0.33 times the sum, 1 % less.
  2. (4) mixes probabilities; there logits are mixed, and six flipped and turned views of a case averaged after softmax.
  3. (5) goes through the grid of 30ths (406 triples), and keeps thirds unless something is better, as there. There:
     triples of 25 values from 0.05 to 1 (``np.linspace``; or a cosine's), divided by their sum; triples that sum to
     more than 1 are skipped, and the loop variables are overwritten by the quotients, so that the grid drifts.
  4. The release adds the weights of every one of the last 50 epochs to an average (SWA), but never swaps it in: what it
     saves, and what its second stage reads, are the last weights and those of the best validation accuracy. Ours is
     ``training.ema``, an exponential average over steps; 0.997 is as old on average as 50 epochs of 12 steps.
  5. Views are drawn for each picture by itself and normalised; there both share one draw, in which dermoscopy is the
     photograph's mask (nearest pixel, no change of colour), and pixels are BGR / 255.
  6. Labels may be unknown: a case counts for the labels that it has.
  7. Batch statistics are each rank's own.

Shapes: B cases, N validation cases, L labels, D features of a tower.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dermis.methods import method
from dermis.methods.multi_label import label_loss, targets_of
from dermis.recipe import refuse_out_of_range
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig


@dataclass(kw_only=True)
class FusionM4NetConfig:
    """Settings of FusionM4Net's first stage."""

    targets: dict[str, list[str]] = field(default_factory=dict)
    """label column -> its classes in order (none: the diagnosis and all findings of the manifest)"""
    hidden: int = 512
    """width of the first layer of g"""
    width: int = 128
    """width of u"""
    dropout: float = 0.3
    """after both layers of g"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, at_least_1=("hidden", "width"))


@method("fusionm4net")
class FusionM4Net(nn.Module):
    """Two pictures and the sum of their features, three classifiers, one mixed decision (Tang et al., 2022)."""

    Config = FusionM4NetConfig
    Towers = BranchesConfig
    needs = ("image", "dermoscopy")
    citation = (
        "@article{tang2022fusionm4net, title={FusionM4Net: A multi-stage multi-modal learning algorithm for "
        "multi-label skin lesion classification}, author={Tang, Peng and Yan, Xintong and Nan, Yang and Xiang, Shao "
        "and Krammer, Sebastian and Lasser, Tobias}, journal={Medical Image Analysis}, volume={76}, pages={102307}, "
        "year={2022}}"
    )

    def __init__(self, model: Branches, config: FusionM4NetConfig) -> None:
        """Raises ValueError if there is no label to learn, or if ``model`` does not look at two pictures."""
        super().__init__()
        if len(model.pictures) != 2:
            raise ValueError("fusionm4net adds up two pictures of a case, and this model sees one: set model.paired.")
        self.model, self.config, self.targets = model, config, targets_of(config)
        model.add("fusion", classes=config.targets, hidden=config.hidden, width=config.width, dropout=config.dropout)

    @property
    def _heads(self) -> Any:
        return self.model.parts["fusion"]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The towers' features (B, D), as ``dermoscopy1`` and ``image1``.

        Heads come after it, so that accumulation keeps their batch statistics those of the whole batch.
        """
        return self.model.encode_views(batch)

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (3); beside it the terms (2) of its branches."""
        logits = self._heads({name: embeddings[f"{name}1"] for name in self.model.pictures})
        terms = {branch: label_loss(rows, batch["label_BL"]) for branch, rows in logits.items()}
        return {"loss": torch.stack(list(terms.values())).mean(), **{k: term.detach() for k, term in terms.items()}}

    def choose_on_valid(self, h_ND: Tensor, label_NL: Tensor) -> dict[str, float]:
        """Equation (5) on validation cases, given the features of both towers side by side; says the weights found."""
        h_ND = h_ND.to(self._heads.share_K.device)
        share_K = self._heads.search(self.model.apart(h_ND), label_NL)
        return dict(zip(self._heads.branches, (share_K / share_K.sum()).tolist(), strict=True))
