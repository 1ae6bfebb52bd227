"""From lesion coordinates to pixels: one similarity per picture.

Lesion coordinates have the lesion's centre as origin and half its diameter as unit; both pictures of a case draw the
same things at the same lesion coordinates, so they agree up to rotation, scale and shift.
"""

from dataclasses import dataclass
from functools import cached_property
from math import cos, log2, sin

import cv2
import numpy as np

from dermis.cases.synthetic.shot import Shot


@dataclass(frozen=True)
class View:
    """A square picture of ``size`` pixels; ``scale``: pixels per lesion radius, ``mm``: lesion radii per millimetre."""

    size: int
    scale: float
    angle: float
    centre: tuple[float, float]
    mm: float

    @classmethod
    def of(cls, shot: Shot, diameter_mm: float, size: int) -> "View":
        radius = diameter_mm / 2
        centre = (shot.centre[0] * size - 0.5, shot.centre[1] * size - 0.5)
        return cls(size, size * radius / shot.field_mm, shot.angle, centre, 1 / radius)

    @cached_property
    def inverse(self) -> np.ndarray:
        """(2, 3) matrix: pixel -> lesion coordinates"""
        c, s = cos(self.angle) / self.scale, sin(self.angle) / self.scale
        turn = np.array([[c, s], [-s, c]])
        return np.hstack([turn, -turn @ np.array(self.centre)[:, None]])

    @cached_property
    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y of each pixel in lesion coordinates: two float32 (size, size)"""
        step = np.arange(self.size, dtype=np.float64)
        (a, b, c), (d, e, f) = self.inverse
        x = (a * step[None] + (b * step + c)[:, None]).astype(np.float32)
        y = (d * step[None] + (e * step + f)[:, None]).astype(np.float32)
        return x, y

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) lesion coordinates -> (n, 2) pixel coordinates"""
        c, s = cos(self.angle) * self.scale, sin(self.angle) * self.scale
        return points @ np.array([[c, s], [-s, c]]) + np.array(self.centre)

    def sample(
        self, texture: tuple[np.ndarray, ...], period: float, shift: tuple[float, float], stretch: float = 1.0
    ) -> np.ndarray:
        """A texture laid on the skin: its tile covers ``period`` lesion radii, ``stretch`` times that along y."""
        detail = log2(max(1.0, texture[0].shape[0] / (period * self.scale)))
        level = texture[min(round(detail), len(texture) - 1)]
        tile = level.shape[0]
        matrix = self.inverse * (np.array([[1.0], [1.0 / stretch]]) * tile / period)
        matrix[:, 2] = (matrix[:, 2] + np.array(shift) * tile) % tile
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(level, matrix, (self.size, self.size), flags=flags, borderMode=cv2.BORDER_WRAP)


def frame_view(size: int) -> View:
    """A view whose unit is the picture's side and whose origin is its corner: for what belongs to the camera."""
    return View(size, float(size), 0.0, (-0.5, -0.5), 1.0)


def smoothstep(x: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
