"""Tileable noise, made once per process: all texture of the pictures is sampled from these tiles."""

from functools import cache

import cv2
import numpy as np

from dermis.cases.synthetic.draws import Draws

TILE = 256
CELLS = 16
"""across a tile of the honeycomb"""


@cache
def fractal(exponent: float, number: int) -> tuple[np.ndarray, ...]:
    """Noise with spectrum 1/f^exponent, zero mean, unit variance; levels of detail, each half the last in size."""
    white = Draws(1, number, round(100 * exponent)).uniforms(TILE * TILE).reshape(TILE, TILE) - 0.5
    fy, fx = np.fft.fftfreq(TILE)[:, None], np.fft.fftfreq(TILE)[None]
    frequency = np.hypot(fx, fy) * TILE
    frequency[0, 0] = np.inf
    tile = np.fft.ifft2(np.fft.fft2(white) * frequency ** (-exponent)).real
    return _levels((tile - tile.mean()) / tile.std())


@cache
def spots(radius: float, number: int) -> tuple[np.ndarray, ...]:
    """Round blotches: noise of one scale (``radius`` in texels), zero mean, unit variance; levels of detail."""
    white = Draws(2, number, round(100 * radius)).uniforms(TILE * TILE).reshape(TILE, TILE) - 0.5
    fy, fx = np.fft.fftfreq(TILE)[:, None], np.fft.fftfreq(TILE)[None]
    band = np.exp(-2 * (np.pi * radius) ** 2 * (fx**2 + fy**2))
    tile = np.fft.ifft2(np.fft.fft2(white) * band).real
    return _levels((tile - tile.mean()) / tile.std())


@cache
def cells(jitter: float, number: int) -> tuple[np.ndarray, ...]:
    """Distance to the nearest border of a honeycomb of ``CELLS`` across, in cell widths; levels of detail.

    ``jitter`` moves the cells' centres (0: regular hexagons).
    """
    rows = 2 * round(CELLS / np.sqrt(3))
    y, x = np.divmod(np.arange(rows * CELLS), CELLS)
    wobble = Draws(3, number, round(100 * jitter), CELLS).uniforms(2 * rows * CELLS).reshape(2, -1) - 0.5
    cx = (x + 0.5 * (y % 2) + jitter * wobble[0]) / CELLS * TILE
    cy = (y + jitter * wobble[1]) / rows * TILE
    grid = np.arange(TILE)
    nearest = np.full((TILE, TILE), np.inf, np.float32)
    second = nearest.copy()
    for px, py in zip(cx, cy, strict=True):
        dx = np.abs(grid - px % TILE)
        dy = np.abs(grid - py % TILE)
        distance = np.hypot(np.minimum(dx, TILE - dx)[None], np.minimum(dy, TILE - dy)[:, None]).astype(np.float32)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    return _levels((second - nearest) * CELLS / TILE)


def _levels(tile: np.ndarray) -> tuple[np.ndarray, ...]:
    levels = [np.ascontiguousarray(tile, np.float32)]
    while levels[-1].shape[0] > 8:
        half = levels[-1].shape[0] // 2
        levels.append(cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA))
    for level in levels:
        level.setflags(write=False)
    return tuple(levels)
