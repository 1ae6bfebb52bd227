"""How a model is fine-tuned: settings alone, so that reading a recipe loads nothing heavy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from dermis.registry import unknown
from dermis.training.config import TrainingConfig

NONE = "none"
"""augmentation: training sees what testing sees"""
Heads = Literal["keep", "no_proj", "proj", "mlp", "msa", "tel", "te"]
Protocol = Literal["clean", "paper"]
WIDE = ("proj", "mlp", "msa", "tel", "te")
"""relations that have a width; all but the first have dropout too"""


@dataclass(kw_only=True)
class FineTuneTraining(TrainingConfig):
    """The loop's settings, with those of SM3's fine-tuning as defaults (arXiv 2310.18583, Section IV.A.2)."""

    epochs: int = 50
    """passes over the training cases"""
    weight_decay: float = 0.01
    """AdamW's decay; vectors and scalars (biases, norms) are never decayed"""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of the two moments"""
    eps: float = 1e-8
    """AdamW's epsilon"""
    warmup: float = 0.0
    """share of all steps over which the learning rate rises linearly from 0"""
    clip_norm: float | None = None
    """largest norm of the whole gradient; null: no clipping"""
    evaluate_epochs: int | None = 1
    """epochs between the looks at the cases that the best epoch is chosen on"""


@dataclass(kw_only=True)
class FineTuneConfig:
    """Fine-tuning: what learns, on which cases, and which epoch is kept."""

    out: Path = Path("runs/finetune")
    """folder of the runs, one a seed (and fold); what it holds is gone on from"""
    targets: list[str] = field(default_factory=list)
    """label columns (none: the diagnosis and all findings of the manifest)"""
    relation: Heads = "keep"
    """what is between the features and the heads: no_proj (linear heads), mlp (one hidden layer), proj, msa, tel, te;
    keep: what the pre-trained model has, else no_proj"""
    width: int | None = None
    """of a label's embedding (none: 512); no_proj has none"""
    dropout: float | None = None
    """in mlp, msa, tel and te (none: 0.1)"""
    new_heads: bool = False
    """draw the last layers afresh where pre-training left some"""
    freeze: list[str] = field(default_factory=list)
    """parameters that stay as they are, by shell patterns over their names: picture_towers.* leaves the heads to learn
    (a linear probe), picture_towers.image.trunk.blocks.[0-5].* freezes six blocks"""
    layer_decay: float | None = None
    """learning rate of a tower's layer: times this for each layer above it, the heads being the uppermost (none: 1)"""
    lora: int | None = None
    """train adapters of this rank on the towers' linear layers instead of the towers (needs the extra `lora`)"""
    augmentation: str = "light"
    """family of the training pictures (dermis list augmentations); none: as in testing, which never augments"""
    protocol: Protocol = "clean"
    """where the best epoch is chosen: clean on `valid`; paper on the scored split itself, as SM3's release does"""
    patience: int | None = None
    """epochs without a better one after which training stops (none: it never stops early)"""
    folds: int | None = None
    """cross-validation over all cases: each fold is tested once, by a model that the next one chose the epoch of"""
    seeds: list[int] = field(default_factory=lambda: [0])
    """of heads, order, augmentation and dropout; one run each"""
    training: FineTuneTraining = field(default_factory=FineTuneTraining)
    """the loop"""

    def __post_init__(self) -> None:
        """Refuse what is out of range or without effect."""
        for name, kind in (("relation", Heads), ("protocol", Protocol)):
            if getattr(self, name) not in get_args(kind):
                raise unknown(f"finetune.{name}", getattr(self, name), get_args(kind))
        if self.augmentation != NONE:
            from dermis.batch.augment import AUGMENTATIONS  # OpenCV, which a recipe's schema leaves out

            if self.augmentation not in AUGMENTATIONS:
                raise unknown("augmentation", self.augmentation, [*AUGMENTATIONS, NONE])
        if repeated := {t for t in self.targets if self.targets.count(t) > 1}:
            raise ValueError(f"finetune.targets names {repeated.pop()!r} twice.")
        self._check_heads()
        self._check_cases()
        if self.layer_decay is not None and not 0 < self.layer_decay < 1:
            raise ValueError(f"finetune.layer_decay must lie between 0 and 1, or be left out, not {self.layer_decay}.")
        if self.lora is not None and self.lora < 1:
            raise ValueError(f"finetune.lora is a rank of 1 or more, not {self.lora}.")
        self._check_training()

    def _check_heads(self) -> None:
        for name, users in (("width", WIDE), ("dropout", WIDE[1:])):
            if getattr(self, name) is not None and self.relation not in users:
                raise ValueError(
                    f"finetune.{name} has no effect with relation {self.relation}; it is about {', '.join(users)}."
                )
        if self.width is not None and self.width < 1:
            raise ValueError(f"finetune.width must be at least 1, not {self.width}.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"finetune.dropout is a probability from 0 to below 1, not {self.dropout}.")

    def _check_cases(self) -> None:
        if self.folds is not None and self.protocol == "paper":
            raise ValueError("finetune.folds choose the epoch on the next fold, so protocol paper has no effect there.")
        if self.folds is not None and self.folds < 3:
            raise ValueError(f"finetune.folds must be 3 or more (train, choose, test), not {self.folds}.")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"finetune.seeds are one or more different numbers, 0 or above, not {self.seeds}.")

    def _check_training(self) -> None:
        if self.training.seed:
            raise ValueError("finetune.training.seed has no effect: finetune.seeds lists the seeds.")
        if self.training.evaluate_epochs is None:
            raise ValueError("finetune.training.evaluate_epochs is needed: the best epoch is chosen by evaluations.")
        if self.patience is not None and not 1 <= self.patience < self.training.epochs:
            raise ValueError(
                f"finetune.patience is 1 or more, and below the {self.training.epochs} epochs of training to have an "
                f"effect, not {self.patience}."
            )
