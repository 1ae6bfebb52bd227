"""Seeded random draws that give the same values on every platform and with every release of numpy.

Only the raw 64-bit stream of PCG64 is used, which numpy promises not to change; the transforms are here.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()


class Draws:
    """A stream of draws that depends on ``key`` (non-negative integers) alone."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def uniforms(self, number: int) -> np.ndarray:
        """(number,) float64 in [0, 1)"""
        return (np.asarray(self._bits.random_raw(number)) >> np.uint64(11)) * 2.0**-53

    def normal(self, mean: float = 0.0, deviation: float = 1.0) -> float:
        return mean + deviation * _NORMAL.inv_cdf(self.uniform(1e-12, 1.0))

    def score(self, mean: float, deviation: float) -> float:
        """A normal draw, cut to [0, 1]."""
        return min(1.0, max(0.0, self.normal(mean, deviation)))

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def below(self, number: int) -> int:
        """An integer in [0, number)."""
        return min(number - 1, int(self.uniform() * number))

    def choose(self, weights: Mapping[str, float]) -> str:
        """A key, with probability proportional to its weight."""
        level = self.uniform() * sum(weights.values())
        for name, weight in weights.items():
            level -= weight
            if level < 0:
                return name
        return name

    def one_of(self, wordings: Sequence[str]) -> str:
        return wordings[self.below(len(wordings))]
