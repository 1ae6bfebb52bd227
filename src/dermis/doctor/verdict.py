"""From measured rates to a sentence: what is the bottleneck, and what is worth trying."""

import math
from dataclasses import dataclass
from typing import Literal

NOISE = 1.25
"""a ratio nearer to 1 than this is no finding: two measurements on a busy machine differ by that much"""
MUCH = 0.4
"""a part of the loader's work that takes more than this share of it is worth its own advice"""


@dataclass(frozen=True)
class Rates:
    """Measured, in cases a second."""

    reading: float
    """bytes from the disk, or from memory where the system has kept the files"""
    decoding: float
    """bytes in memory to pixels, at the smallest size that a view can do with"""
    alone: float
    """the whole loader in the training process"""
    step: float
    """training on a batch that lies in memory"""
    workers: int
    """processes that ``loading`` was measured with"""
    loading: float | None = None
    """the whole loader with ``workers``; None: they cannot run here"""
    wanted: int = 0
    """what the recipe sets as training.workers"""
    processors: int = 1
    """those that can be used"""
    on_gpu: bool = False
    frozen: bool = False
    """the image tower does not learn, so that its outputs can be stored"""
    unit: str = "pictures"

    @property
    def at_work(self) -> int:
        """Workers that the recipe's loader has here."""
        return 0 if self.loading is None else self.wanted

    @property
    def loader(self) -> float:
        """The loader as the recipe uses it."""
        return self.loading if self.at_work and self.loading is not None else self.alone

    @property
    def ratio(self) -> float:
        """How many times as long as its pictures a step takes."""
        return self.loader / self.step


@dataclass(frozen=True)
class Verdict:
    """``tries``: what to change, the most promising first."""

    bottleneck: Literal["model", "loader", "neither"]
    sentence: str
    tries: list[str]


def verdict(rates: Rates) -> Verdict:
    """Which of loader and model the other waits for."""
    r = rates
    numbers = f"{_number(r.step)} against {_number(r.loader)} a second with {workers(r.at_work)}"
    if r.ratio >= NOISE:
        said = f"The model is the bottleneck: it takes {r.ratio:.1f} times as long as the {r.unit} ({numbers})"
        return Verdict("model", f"{said}, so more workers will not help.", [*_turns(r), *_faster_model(r)])
    if r.ratio <= 1 / NOISE:
        said = (
            f"The loader is the bottleneck: the model could take {1 / r.ratio:.1f} times as many {r.unit} ({numbers})."
        )
        return Verdict("loader", said, _faster_loader(r))
    said = f"Loader and model are level ({numbers}): making only one of them faster gains little."
    return Verdict("neither", said, _turns(r))


def _turns(r: Rates) -> list[str]:
    """Without workers loader and model take turns, so that even the faster of the two costs time."""
    lost = r.step / (r.step + r.alone)
    if r.at_work or lost < 0.1 or (r.processors == 1 and not r.on_gpu):
        return []
    return [f"--training.workers 1: without workers loader and model take turns, and {lost:.0%} of the time is loading"]


def _faster_model(r: Rates) -> list[str]:
    first = "--training.compile, if it is off (not with training.accumulate)" if r.on_gpu else "a GPU"
    return [first, "a smaller tower or picture (--model.image.name, --model.image.size)"]


def _faster_loader(r: Rates) -> list[str]:
    tries = []
    useful = min(math.ceil(NOISE * r.step / r.alone), r.processors)
    if r.loading is not None and r.workers > 1 and r.loading < NOISE * r.alone:
        tries.append(f"{workers(r.workers)} are hardly faster than none ({_number(r.loading)} against "
                     f"{_number(r.alone)}): the disk or other programs on this machine set the pace")  # fmt: skip
    elif useful > r.at_work:
        tries.append(f"--training.workers {useful} ({r.processors} processors can be used)")
    elif r.at_work >= r.processors:
        tries.append(f"more processors: {workers(r.at_work)} have {r.processors}")
    reading, decoding = (min(1.0, r.alone / part) for part in (r.reading, r.decoding))
    if reading > MUCH:
        tries.append(f"reading takes {reading:.0%} of the loader's time: copy the pictures to a local disk")
    if decoding > MUCH:
        tries.append(f"decoding takes {decoding:.0%} of the loader's time: make the pictures smaller once, to about "
                     "twice the size that the model sees")  # fmt: skip
    if 1 - reading - decoding > MUCH:
        tries.append(f"augmentation and texts take {1 - reading - decoding:.0%} of the loader's time: try "
                     "--data.augmentation light")  # fmt: skip
    if r.frozen:
        tries.append("--data.augmentation stored: the image tower is frozen, so each picture need be seen only once")
    return tries


def workers(count: int) -> str:
    """A number of workers in words."""
    return "no workers" if not count else "1 worker" if count == 1 else f"{count} workers"


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
