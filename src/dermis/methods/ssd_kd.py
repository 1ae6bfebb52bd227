"""SSD-KD -- A self-supervised diverse knowledge distillation method for skin lesions (Wang et al., 2023).

Paper    Medical Image Analysis 84 (2023) 102693, https://arxiv.org/abs/2203.11490
Release  enkiwang/Portable-Skin-Lesion-Diagnosis at b8bf301: experiment/isic/isic_ssd_kd.py, kd_losses/ssd_kd.py

A small student learns a diagnosis from labels and from a large teacher that was taught it before and stays as it is.
Four copies of each picture, copy r turned by r · 90°, pass through both at once: features s and t, feature maps S and
T, class probabilities p at a temperature.

    L_hard     = Σ_b w_{y_b} CE(student(b, 0), y_b) / Σ_b w_{y_b},    w_c = all cases / cases of class c        (1)
    L_soft     = τ² mean_b KL( p_t(b, 0) ‖ p_s(b, 0) )                                             τ = 4        (2)
    L_turned   = τ² mean over the kept turned copies of KL( p_t(b, r) ‖ p_s(b, r) )                τ = 4        (3)
    L_similar  = τ² mean over the kept turned copies of KL( c_t(b, r) ‖ c_s(b, r) )                τ = 0.5      (4)
                 c_t(b, r) = softmax_i( cos(t_{b,r}, t_{i,0}) / τ ), c_s likewise: which upright picture it resembles
    L_relation = 25 RKD_distance(s, t) + 50 RKD_angle(s, t) + 1000 sqrt( mean (G(R(S)) - G(T))² )               (5)
                 over all copies; G: inner products of a map's channels; R: convolution to the teacher's channels
    L          = 0.1 L_hard + 0.9 L_soft + 2.7 L_turned + 10 L_similar + L_relation                             (6)

Kept are the copies that the teacher gets right, and of the others the share with the smallest error (all in (3),
three quarters in (4)). The terms are ``losses/distillation.py``.

``teacher`` is the folder of a model with one picture and label heads, as ``multi_label`` leaves one; its classes are
the student's. It is no submodule: it is in no checkpoint, gets no gradient, never leaves evaluation mode and moves
to devices with the method. SM3's tables have a row SSD-KD among methods without labels and do not say what taught its
teacher; this page is the paper's distillation from a supervised teacher.

Differs from the release:
  1. It runs: released, the constructor of the relations' class DR raises a TypeError (it calls that of D_KD without
     its arguments). This is what the script would compute.
  2. (4) compares the features themselves. Released: both pass through a head of two layers, which the teacher gets
     beforehand, by 60 epochs of telling which picture a turned copy was made from. Features after a ReLU all point one
     way, so that c is flatter here and the term smaller.
  3. R is a 1 x 1 convolution, batch norm and ReLU. Released: a kernel that also makes the maps equally large, which
     those of ResNet-50 and MobileNetV2 are.
  4. Copies are augmented, each by a draw of its own, and then turned. Released: the other way round.
  5. Cases without a diagnosis take no part in (1), and count as right where (3) ranks errors.
  6. On several ranks (1) is that of all cases, (2) to (5) are means over ranks, each among its own cases.

Shapes: B cases, R = 4 copies, D features (and channels), C classes, N training cases.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.distributed import all_reduce_mean
from dermis.losses.distillation import (
    most_reliable,
    relation_angle,
    relation_distance,
    relation_gram,
    rotation_similarity,
    soft_target,
)
from dermis.losses.multi_label import UNKNOWN
from dermis.losses.precision import at_least_float32
from dermis.methods import method
from dermis.recipe import changed, refuse_out_of_range
from dermis.registry import unknown
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, rebuild_branches
from dermis.towers.freeze import freeze
from dermis.towers.stored_settings import read_settings
from dermis.towers.weights import fetch_folder, read_weights

WEIGHTS = ("hard", "soft", "turned", "similar", "distance", "angle", "gram")


@dataclass(kw_only=True)
class SSDKDConfig:
    """Settings of SSD-KD; the defaults are the release's."""

    teacher: str | None = None
    """its model folder, local-dir:FOLDER or hf-hub:ORG/REPO: one picture, label heads (`dermis train multi_label`)"""
    label: str = "diagnosis"
    """the label column, one of those that the teacher was taught"""
    class_weights: bool = True
    """w of (1); if not, all classes weigh the same"""
    hard: float = 0.1
    """weight of (1)"""
    soft: float = 0.9
    """weight of (2)"""
    turned: float = 2.7
    """weight of (3)"""
    similar: float = 10.0
    """weight of (4)"""
    distance: float = 25.0
    """weight of RKD's distances in (5)"""
    angle: float = 50.0
    """weight of RKD's angles in (5)"""
    gram: float = 1000.0
    """weight of the Gram matrices in (5); 0: towers need no feature maps"""
    temperature: float = 4.0
    """τ of (2) and (3)"""
    similarity_temperature: float = 0.5
    """τ of (4)"""
    keep_turned: float = 1.0
    """share of the copies that the teacher gets wrong which (3) keeps"""
    keep_similar: float = 0.75
    """share of the copies that the teacher gets wrong which (4) keeps"""

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in WEIGHTS}
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(f"{', '.join(WEIGHTS)} are weights of terms: none below 0, and not all 0.")
        refuse_out_of_range(
            self, above_0=("temperature", "similarity_temperature"), shares=("keep_turned", "keep_similar")
        )
        for setting, terms in (
            ("class_weights", ("hard",)),
            ("temperature", ("soft", "turned")),
            ("similarity_temperature", ("similar",)),
            ("keep_turned", ("turned",)),
            ("keep_similar", ("similar",)),
        ):
            if changed(self, [setting]) and not any(weights[term] for term in terms):
                raise ValueError(f"{setting} has no effect where {' and '.join(terms)} weigh nothing; leave it out.")


@method("ssd_kd")
class SSDKD(nn.Module):
    """A small model takes over a large one's answers, and the relations it sees between cases (Wang et al., 2023)."""

    Config = SSDKDConfig
    Towers = BranchesConfig
    needs = ("image",)
    views = 4
    citation = (
        "@article{wang2023ssd, title={{SSD-KD}: A self-supervised diverse knowledge distillation method for "
        "lightweight skin lesion classification using dermoscopic images}, author={Wang, Yongwei and Wang, Yuheng and "
        "Cai, Jiayue and Lee, Tim K and Miao, Chunyan and Wang, Z Jane}, journal={Medical Image Analysis}, volume={84},"
        " pages={102693}, year={2023}}"
    )
    weight_C: Tensor  # noqa: N815 (shapes are in the names)

    def __init__(self, model: Branches, config: SSDKDConfig) -> None:
        """Raises ValueError for a model of two pictures, and without a teacher that fits it (``read_teacher``)."""
        super().__init__()
        if not config.teacher:
            raise ValueError("ssd_kd learns from a teacher: set method.teacher to the folder of a trained model.")
        teacher, classes = read_teacher(config.teacher, config.label)
        for who, one in (("the student", model), ("the teacher", teacher)):
            if len(one.pictures) != 1:
                raise ValueError(f"ssd_kd is about one picture a case, and {who} looks at two: set model.paired false.")
        wants = [(one.transform.size, one.transform.mean, one.transform.std) for one in (model, teacher)]
        if wants[0] != wants[1]:
            raise ValueError(
                f"student and teacher must want the same pictures; size, mean and std are {wants[0]} for the student, "
                f"{wants[1]} for the teacher."
            )
        self.model, self.config, self.targets = model, config, {config.label: classes}
        self._unregistered = [teacher]  # in a list: neither trained nor saved with the student
        model.add("labels", classes=self.targets, relation="no_proj")
        if config.gram:
            channels = nn.Conv2d(model.dim, teacher.dim, 1)
            self.regressor = nn.Sequential(channels, nn.BatchNorm2d(teacher.dim), nn.ReLU())
        self.register_buffer("weight_C", torch.ones(len(classes)))

    @property
    def teacher(self) -> Branches:
        """The frozen model that is learned from."""
        return self._unregistered[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SSDKD":
        """What ``to``, ``double`` and the like call: the teacher goes along."""
        self.teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def start_epoch(self, epoch: int, batches: Any) -> None:
        """w of (1), from the labels of all training cases."""
        if self.config.class_weights:
            label_N = batches.dataset.per_row["label_BL"][:, 0]
            count_C = label_N[label_N != UNKNOWN].bincount(minlength=len(self.weight_C))
            self.weight_C.copy_(count_C.sum() / count_C.clamp_min(1))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Features (B, R, D) of all copies and, for (5), feature maps (B, R, D, H, W), of student and teacher.

        Raises ValueError for towers without feature maps if (5) asks for them.
        """
        view_BRCHW = batch[f"{self.model.pictures[0]}_BVCHW"]
        copy_BRCHW = torch.stack([torch.rot90(x, r, (-2, -1)) for r, x in enumerate(view_BRCHW.unbind(1))], dim=1)
        return self._see(self.model, "student", copy_BRCHW) | self._see(self.teacher, "teacher", copy_BRCHW)

    def _see(self, model: Branches, who: str, copy_BRCHW: Tensor) -> dict[str, Tensor]:
        tower: Any = model.picture_towers[model.pictures[0]]
        features = tower.features(copy_BRCHW.flatten(0, 1))
        seen = {who: features.pooled_BD.unflatten(0, copy_BRCHW.shape[:2])}
        if not self.config.gram:
            return seen
        patch_NPD = features.patch_BPD
        if patch_NPD is None or patch_NPD.shape[2] != model.dim:
            raise ValueError(f"the {who}'s tower has no feature map as wide as its features; set method.gram to 0.")
        map_NDHW = patch_NPD.transpose(1, 2).unflatten(2, features.grid)
        return seen | {f"{who}_map": map_NDHW.unflatten(0, copy_BRCHW.shape[:2])}

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (6); beside it its terms, unweighted."""
        c, label_B = self.config, batch["label_BL"][:, 0]
        s_BRD, t_BRD = embeddings["student"], embeddings["teacher"]
        maps = None
        if c.gram:
            maps = self.regressor(embeddings["student_map"].flatten(0, 1)), embeddings["teacher_map"].flatten(0, 1)
        student_BRC, teacher_BRC = self._logits(self.model, s_BRD), self._logits(self.teacher, t_BRD)
        with torch.autocast(s_BRD.device.type, enabled=False):
            s_BRD, t_BRD, student_BRC, teacher_BRC = map(at_least_float32, (s_BRD, t_BRD, student_BRC, teacher_BRC))
            rows = s_BRD.flatten(0, 1), t_BRD.flatten(0, 1)
            turned = student_BRC[:, 1:].flatten(0, 1), teacher_BRC[:, 1:].flatten(0, 1)
            label_A = label_B.repeat_interleave(s_BRD.shape[1] - 1)
            label_A = torch.where(label_A == UNKNOWN, turned[1].argmax(1), label_A)
            kept_A = most_reliable(turned[1], label_A, c.keep_turned)
            terms = {
                "hard": self._hard(student_BRC[:, 0], label_B),
                "soft": soft_target(student_BRC[:, 0], teacher_BRC[:, 0], c.temperature),
                "turned": soft_target(*turned, c.temperature, kept_B=kept_A),
                "similar": rotation_similarity(s_BRD, t_BRD, c.similarity_temperature, keep=c.keep_similar),
                "distance": relation_distance(*rows),
                "angle": relation_angle(*rows),
            }
            if maps:
                terms["gram"] = relation_gram(*map(at_least_float32, maps))
        loss = torch.stack([getattr(c, name) * term for name, term in terms.items()]).sum()
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def _logits(self, model: Branches, h_BRD: Tensor) -> Tensor:
        heads: Any = model.parts["labels"]
        return heads(h_BRD.flatten(0, 1))[list(heads.classes).index(self.config.label)].unflatten(0, h_BRD.shape[:2])

    def _hard(self, logits_BC: Tensor, label_B: Tensor) -> Tensor:
        """Equation (1) as this rank's share: its mean over ranks is that of all ranks' cases."""
        weight_C = self.weight_C.to(logits_BC)
        total = F.cross_entropy(logits_BC, label_B, weight_C, ignore_index=UNKNOWN, reduction="sum")
        weight = all_reduce_mean((weight_C[label_B.clamp_min(0)] * (label_B != UNKNOWN)).sum())
        return total / torch.where(weight > 0, weight, 1)


def read_teacher(source: str, label: str) -> tuple[Branches, list[str]]:
    """The model of a folder that ``dermis train`` left, frozen, and its classes of ``label``.

    Raises ValueError, with a sentence, if there is no such model, or if it was not taught ``label``.
    """
    folder = fetch_folder(source)
    settings = read_settings(folder)
    if settings is None or settings["kind"] != "branches":
        raise ValueError(f"{folder} holds no image tower with label heads; `dermis train multi_label` makes a teacher.")
    model = rebuild_branches(settings, read_weights(str(folder / "model.safetensors")), str(folder))
    freeze(model)
    taught = getattr(dict(model.parts.items()).get("labels"), "classes", None) or {}
    if label not in taught:
        raise unknown(f"label (method.label) of the teacher in {folder}", label, taught)
    return model, taught[label]
