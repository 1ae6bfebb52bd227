"""An experiment as it is before its first step: cases, texts, and the method of its first stage with its weights."""

from dataclasses import dataclass
from pathlib import Path

from dermis.batch.config import STORED
from dermis.batch.loader import Batches
from dermis.distributed import seed_everything
from dermis.experiment import Experiment, stages_of
from dermis.run import Prepared, prepared
from dermis.training.config import TrainingConfig
from dermis.training_data import batches_of

ENOUGH = 10_000
"""cases whose texts a tokenizer is learnt from; speed does not depend on the rest of them"""


@dataclass(frozen=True)
class FirstStage(Prepared):
    """``stage``: the first of a method that has several, else empty."""

    stage: str
    loop: TrainingConfig

    @property
    def columns(self) -> list[str]:
        """The picture columns that the towers look at."""
        return list(self.method.model.picture_towers)

    def batches(self, loop: TrainingConfig) -> Batches:
        """The batches that training would see, by these settings."""
        return batches_of(self.experiment, self.method, self.cases, self.texts, loop)


def prepare(experiment: Experiment, folder: Path) -> FirstStage:
    """All that `dermis train` does before the first step, without evaluating. ``folder``: for a learnt tokenizer.

    Raises ValueError for what cannot work, as training does, and for stored pictures, which no loader opens.
    """
    stage, loop = next(iter(stages_of(experiment).items()))
    if STORED in (experiment.data.augmentation, getattr(loop, "augmentation", None)):
        raise ValueError(
            "with data.augmentation 'stored' each picture is embedded once, before training, and no loader opens it: "
            "there is nothing to compare. Measure with --data.augmentation light, say."
        )
    ready = prepared(experiment, folder, ENOUGH)
    if stage:
        seed_everything(loop.seed)
        ready.method.start_stage(stage)
    return FirstStage(**vars(ready), stage=stage, loop=loop)
