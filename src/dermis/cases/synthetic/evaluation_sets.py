"""The frozen evaluation sets of the synthetic skin.

Methods are tuned on other seeds (any below ``FIRST_RESERVED_SEED``). tests/cases/synthetic/test_frozen.py holds the
fingerprints; sets may be added, not changed.
"""

from dataclasses import dataclass
from pathlib import Path

from dermis.cases.manifest import Manifest
from dermis.cases.synthetic.make import make_cases
from dermis.registry import unknown

FIRST_RESERVED_SEED = 9000


@dataclass(frozen=True)
class EvaluationSet:
    """What to give to ``make_cases``; each set has its own train, valid and test patients."""

    seed: int
    patients: int
    size: int


EVALUATION_SETS = {
    "small": EvaluationSet(seed=9001, patients=150, size=64),
    "standard": EvaluationSet(seed=9002, patients=1200, size=96),
    "fine": EvaluationSet(seed=9003, patients=600, size=224),
}


def make_evaluation_set(name: str, folder: Path | str, *, workers: int = 1) -> Manifest:
    """Write an evaluation set; raises ValueError for an unknown name."""
    if name not in EVALUATION_SETS:
        raise unknown("evaluation set", name, EVALUATION_SETS)
    chosen = EVALUATION_SETS[name]
    return make_cases(folder, patients=chosen.patients, size=chosen.size, seed=chosen.seed, workers=workers)
