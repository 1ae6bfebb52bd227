"""Courses of vessels in lesion coordinates."""

from math import cos, pi, sin

import numpy as np

from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.latent import Place

_NUMBER = {"comma": 9, "hairpin": 9, "linear irregular": 7, "wreath": 14, "within regression": 7}


def vessel_paths(kind: str, place: Place, draws: Draws) -> dict[float, list[np.ndarray]]:
    """Polylines (n, 2) by width for one class of vascular structures, gathered about ``place``."""
    if kind == "arborizing":
        return _trees(place, draws)
    paths = []
    for number in range(_NUMBER[kind]):
        turn, distance = draws.uniform(0, 2 * pi), 1.2 * place.radius * draws.uniform() ** 0.5
        x = place.distance * cos(place.angle) + distance * cos(turn)
        y = place.distance * sin(place.angle) + distance * sin(turn)
        heading = draws.uniform(0, 2 * pi)
        if kind == "wreath":
            ring = 2 * pi * number / _NUMBER[kind]
            x, y, heading = 0.82 * cos(ring), 0.82 * sin(ring), ring + pi / 2
        along, across = _COURSES[kind](draws)
        c, s = cos(heading), sin(heading)
        paths.append(np.stack([x + c * along - s * across, y + s * along + c * across], 1))
    return {0.035 if kind == "within regression" else 0.05: paths}


def _comma(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    bend = np.linspace(-0.9, 0.9, 6)
    return 0.12 * np.sin(bend), 0.12 * np.cos(bend)


def _hairpin(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    return np.array([0.0, 0.12, 0.18, 0.2, 0.18, 0.12, 0.0]), np.array([-0.05, -0.06, -0.04, 0.0, 0.04, 0.06, 0.05])


def _wavy(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    along = np.linspace(-0.2, 0.2, 8) * draws.uniform(0.6, 1.3)
    return along, 0.09 * (draws.uniforms(8) - 0.5)


_COURSES = {
    "comma": _comma,
    "hairpin": _hairpin,
    "wreath": _comma,
    "linear irregular": _wavy,
    "within regression": _wavy,
}


def _trees(place: Place, draws: Draws) -> dict[float, list[np.ndarray]]:
    """Three trunks that enter at the border and fork twice, thinner each time."""
    widths: dict[float, list[np.ndarray]] = {0.055: [], 0.035: [], 0.02: []}
    shoots = []
    for _ in range(3):
        angle = place.angle + draws.uniform(-0.8, 0.8)
        shoots.append((0.92 * cos(angle), 0.92 * sin(angle), angle + pi + draws.uniform(-0.4, 0.4), 0.55))
    for paths in widths.values():
        forks = []
        for x, y, heading, length in shoots:
            turns = heading + np.cumsum(0.7 * (draws.uniforms(6) - 0.5))
            steps = np.stack([np.cos(turns), np.sin(turns)], 1) * (length / 6)
            path = np.array([x, y]) + np.cumsum(steps, axis=0)
            paths.append(np.vstack([[x, y], path]))
            for joint, side in ((2, 1), (5, -1), (5, 0.6)):
                forks.append((*path[joint], float(turns[joint]) + side * draws.uniform(0.4, 0.9), 0.6 * length))
        shoots = forks
    return widths
