"""The outline of a lesion: a radius for each direction, the same in both pictures."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.latent import Lesion
from dermis.cases.synthetic.view import View

DIRECTIONS = 1024


@dataclass(frozen=True)
class Field:
    """An outline seen in a picture; float32 planes (size, size). ``inside`` > 0 is the lesion, exactly."""

    inside: np.ndarray
    """outline's radius minus distance from the centre, in lesion radii"""
    depth: np.ndarray
    """0 at the outline and beyond, 1 at the centre"""
    direction: np.ndarray
    """index of the direction, 0 to DIRECTIONS - 1"""


@cache
def _waves(number: int) -> tuple[np.ndarray, np.ndarray]:
    turn = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS) * np.arange(1, number + 1)[:, None]
    return np.cos(turn), np.sin(turn)


def radii(lesion: Lesion) -> np.ndarray:
    """(DIRECTIONS,) radius of the outline, scaled so that the lesion's area is that of the unit disc."""
    amplitude, phase = np.array(lesion.harmonics).T
    first_fine = len(amplitude) + 1
    fine = np.arange(first_fine, first_fine + 18)
    size, turn = Draws(lesion.texture, 0).uniforms(2 * len(fine)).reshape(2, -1)
    amplitude = np.concatenate([amplitude, 0.42 * lesion.border_irregularity * size**2 / fine])
    phase = np.concatenate([phase, turn * (2 * np.pi)])
    cosines, sines = _waves(len(amplitude))
    radius = np.maximum(1 + (amplitude * np.cos(phase)) @ cosines - (amplitude * np.sin(phase)) @ sines, 0.35)
    return radius / np.sqrt(np.mean(radius**2))


def field_of(view: View, radius: np.ndarray) -> Field:
    """The outline with these ``radii`` in a picture."""
    x, y = view.coordinates
    distance, turn = cv2.cartToPolar(x, y)
    direction = (turn * np.float32(DIRECTIONS / (2 * np.pi))).astype(np.int32) % DIRECTIONS
    outline = radius.astype(np.float32)[direction]
    inside = outline - distance
    return Field(inside, np.maximum(inside, 0) / outline, direction)


def radius_at(radius: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """The outline's radius in the direction of ``angle`` (radians)."""
    return radius[(np.asarray(angle) * (DIRECTIONS / (2 * np.pi))).astype(int) % DIRECTIONS]
