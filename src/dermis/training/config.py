"""What the loop can be told."""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(kw_only=True)
class TrainingConfig:
    """The loop's settings; the same for every method."""

    FEWEST_EPOCHS: ClassVar[int] = 1
    epochs: int = 10
    """passes over the training cases"""
    batch_size: int = 64
    """cases per rank and optimiser step; the loss sees all of them, and those of the other ranks, as negatives"""
    accumulate: int = 1
    """slices of a batch that pass through the towers one at a time (GradCache): less memory, the same gradient"""
    lr: float = 1e-4
    """peak learning rate of AdamW"""
    weight_decay: float = 0.1
    """AdamW's decay; vectors and scalars (biases, norms, logit_scale) are never decayed"""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates of the two moments"""
    eps: float = 1e-6
    """AdamW's epsilon"""
    warmup: float = 0.1
    """share of all steps over which the learning rate rises linearly from 0"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """course of the learning rate after warm-up; cosine falls to 0"""
    clip_norm: float | None = 1.0
    """largest norm of the whole gradient; null: no clipping"""
    ema: float | None = None
    """decay per step of an exponential moving average of the weights, which is then evaluated and saved; null: none"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 on a GPU that has it, else fp32 (on CPUs without bf16 units it is 50-150 times slower)"""
    fully_sharded: bool = False
    """cut the towers' blocks over the ranks (FSDP2) instead of keeping all weights on each, for models that do not fit;
    alone, a process keeps them whole"""
    compile: bool = False
    """torch.compile the method's forward (pays on GPUs, not on CPUs; not with accumulate, which calls its parts)"""
    workers: int = 2
    """processes that open and augment pictures; 0: the training process does it"""
    seed: int = 0
    """seed of initialisation, order, augmentation and dropout"""
    checkpoint_steps: int | None = None
    """steps between checkpoints; null: one at the end of each epoch"""
    keep: int = 2
    """newest checkpoints that are kept"""
    log_steps: int = 10
    """steps between lines of log.jsonl"""
    evaluate_epochs: int | None = None
    """epochs between evaluations on the valid split during training, into log.jsonl; null: only after it"""
    tensorboard: bool = False
    """also write TensorBoard event files (needs the extra `track`)"""

    def __post_init__(self) -> None:
        if self.epochs < self.FEWEST_EPOCHS:
            raise ValueError(f"training.epochs must be at least {self.FEWEST_EPOCHS}, not {self.epochs}.")
        counts, amounts = ("batch_size", "accumulate", "keep", "log_steps"), ("lr", "weight_decay", "eps")
        least = dict.fromkeys(counts, 1) | dict.fromkeys((*amounts, "workers", "seed"), 0)
        for name, lowest in least.items():
            if not getattr(self, name) >= lowest:  # nan too
                raise ValueError(f"training.{name} must be at least {lowest}, not {getattr(self, name)}.")
        for name in ("checkpoint_steps", "evaluate_epochs"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be at least 1 or null, not {getattr(self, name)}.")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"training.clip_norm must be above 0, or null for no clipping, not {self.clip_norm}.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"training.betas are decay rates, 0 to below 1, not {self.betas}.")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"training.warmup is a share of all steps, 0 to below 1, not {self.warmup}.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"training.ema must lie between 0 and 1, not {self.ema}.")
        if self.accumulate > self.batch_size:
            raise ValueError(f"training.accumulate {self.accumulate} exceeds the batch of {self.batch_size} cases.")
        if self.compile and self.accumulate > 1:
            raise ValueError("training.compile has no effect with training.accumulate above 1: leave one of them out.")


@dataclass(kw_only=True)
class StageConfig(TrainingConfig):
    """The loop's settings in one stage of a method that is trained in several."""

    FEWEST_EPOCHS: ClassVar[int] = 0
    epochs: int = 10
    """passes over the training cases; 0: leave this stage out"""
    augmentation: str | None = None
    """augmentation family of this stage; null: data.augmentation"""
