"""The multi-label classifier: features of a case's pictures side by side, a head for each label.

Paper    SM3 (https://arxiv.org/abs/2310.18583), Section III.F and Figure 4, its row "Baseline"; after EmbeddingNet
         (Yap, Yolland and Tschandl, Experimental Dermatology 2018)
Release  Dylan-H-Wang/skin-sm3 at 255038f, src/models/baseline.py (``relation: no_proj``), tools/mlc_eval.py (``tel``)

    h = [f_derm(x), f_clinic(x')],    h_k = q_k(W(p_1(h), …, p_K(h))_k)    (relation no_proj: h_k = q_k(h))
    L = mean_k CE(h_k, y_k)                                                                          (1)

It is what pre-trained models are fine-tuned with, the seven-point checklist as eight labels or a diagnosis as one.
Heads of a model that brings some of the same relation (SM3's second stage, by ``model.weights`` or in fine-tuning) are
gone on from; which of its clusters becomes which class is then an accident, so ``new_heads`` draws the last layers
afresh.

Differs from the release:
  1. Labels may be unknown: a case counts for the labels that it has.

Shapes: B cases, L labels, D features of all pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dermis.distributed import all_reduce_mean
from dermis.losses.multi_label import UNKNOWN, multi_label
from dermis.losses.precision import at_least_float32
from dermis.methods import method
from dermis.recipe import refuse_out_of_range
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig
from dermis.towers.label_heads import Relation, refuse_without_effect


@dataclass(kw_only=True)
class MultiLabelConfig:
    """Settings of the multi-label classifier."""

    targets: dict[str, list[str]] = field(default_factory=dict)
    """label column -> its classes in order (none: the diagnosis and all findings of the manifest)"""
    relation: Relation = "no_proj"
    """what is between the features and the heads"""
    width: int = 512
    """of a label's embedding; no_proj has none"""
    heads: int = 1
    """attention heads of msa, tel and te"""
    feedforward: int = 128
    """hidden width of the Transformer layers of tel and te"""
    layers: int = 6
    """Transformer layers of te"""
    dropout: float = 0.1
    """in mlp, msa, tel and te"""
    new_heads: bool = False
    """draw the last layers afresh where pre-training left some"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, at_least_1=("width", "heads", "feedforward", "layers"))
        refuse_without_effect(self)


@method("multi_label")
class MultiLabel(nn.Module):
    """Pictures of a case side by side, a head for each label (Wang et al., 2023, the baseline)."""

    Config = MultiLabelConfig
    Towers = BranchesConfig
    needs = ("image",)
    citation = (
        "@article{wang2023sm3, title={Self-Supervised Multi-Modality Learning for Multi-Label Skin Lesion "
        "Classification}, author={Wang, Hao and Ahn, Euijoon and Bi, Lei and Kim, Jinman}, "
        "journal={arXiv:2310.18583}, year={2023}}"
    )

    def __init__(self, model: Branches, config: MultiLabelConfig) -> None:
        """Raises ValueError if there is no label to learn."""
        super().__init__()
        self.model, self.config, self.targets = model, config, targets_of(config)
        before = model.parts["labels"].state_dict() if "labels" in model.parts else {}
        settings = {
            name: getattr(config, name) for name in ("relation", "width", "heads", "feedforward", "layers", "dropout")
        }
        own = model.add("labels", classes=config.targets, **settings)
        go_on_from(own, before, leave_out="heads." if config.new_heads else None)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (1)."""
        logits = self.model.parts["labels"](self.model.encode_first_views(batch))
        return {"loss": label_loss(logits, batch["label_BL"])}


def targets_of(config: Any) -> dict[str, list[str]]:
    """Label column -> its classes, of a classifier's settings; ValueError if there is no label to learn."""
    if not config.targets:
        raise ValueError("the classifier needs method.targets: label columns and their classes.")
    return config.targets


def label_loss(logits: Sequence[Tensor], label_BL: Tensor) -> Tensor:
    """``multi_label`` as this rank's share: its mean over ranks is the loss of all ranks' cases."""
    counts_L = all_reduce_mean((label_BL != UNKNOWN).sum(0).float())
    with torch.autocast(label_BL.device.type, enabled=False):
        return multi_label([at_least_float32(rows) for rows in logits], label_BL, counts_L=counts_L)


def go_on_from(own: nn.Module, before: Mapping[str, Any], leave_out: str | None = None) -> None:
    """Give ``own`` the weights that pre-training left under the same name and shape, but those under ``leave_out``."""
    state = own.state_dict()
    fits = {k: v for k, v in before.items() if k in state and v.shape == state[k].shape}
    state |= {k: v for k, v in fits.items() if leave_out is None or not k.startswith(leave_out)}
    own.load_state_dict(state)
