"""When is a class possible, when a picture strange, and when is nobody sure: the settings of a decision."""

from dataclasses import dataclass
from typing import Literal

from dermis.decision.conformal import SCORES, tolerated
from dermis.registry import unknown


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is promised and what counts as "not sure"; everything random is drawn by ``seed``."""

    alpha: float = 0.1
    """share of cases whose set may miss the true class"""
    score: Literal["lac", "aps"] = "lac"
    """how sets grow: lac (smallest on average; none of the classes may be left) or aps (larger where it is hard)"""
    classwise: bool = False
    """keep the promise for each diagnosis, not only on average; needs 1 / alpha − 1 calibration patients of each"""
    most_classes: int = 1
    """a set of more classes is "not sure", and so is an empty one"""
    ood_level: float = 0.05
    """a picture is too strange from this p-value down: the share of ordinary pictures that are sent away; 0: never"""
    neighbours: int = 10
    """the k of the distance to the k-th nearest training picture"""
    seed: int = 0
    """of the patients that set the temperature, each calibration patient's picture, the folds and the intervals"""

    def __post_init__(self) -> None:
        tolerated(0, self.alpha)
        if self.score not in SCORES:
            raise unknown("nonconformity score", self.score, SCORES)
        if self.most_classes < 1:
            raise ValueError(f"most_classes is 1 or more; it is {self.most_classes}.")
        if not 0 <= self.ood_level < 1:
            raise ValueError(f"ood_level lies between 0 (never) and 1; it is {self.ood_level}.")
        if self.neighbours < 1:
            raise ValueError(f"neighbours is 1 or more; it is {self.neighbours}.")
