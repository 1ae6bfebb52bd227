"""Dots and lines given in lesion coordinates, drawn into a plane."""

from collections.abc import Iterable

import cv2
import numpy as np

from dermis.cases.synthetic.view import View

_SHIFT = 4


def dots(view: View, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Filled discs: centres (n, 2) and radii (n,) in lesion radii -> float32 (size, size) in 0 to 1."""
    # Twice the size, because OpenCV's discs of a pixel or two are diamonds.
    plane = np.zeros((2 * view.size, 2 * view.size), np.uint8)
    fixed = np.rint((2 * view.pixels(centres) + 0.5) * 2**_SHIFT).astype(int)
    widths = 2 * radii * view.scale
    for (x, y), width in zip(fixed.tolist(), widths.tolist(), strict=True):
        # Thinner than a pixel: a pixel of less ink.
        cv2.circle(
            plane, (x, y), round(max(1.0, width) * 2**_SHIFT), round(255 * min(1.0, width)), -1, cv2.LINE_AA, _SHIFT
        )
    plane = cv2.resize(plane, (view.size, view.size), interpolation=cv2.INTER_AREA)
    return plane.astype(np.float32) * np.float32(1 / 255)


def lines(view: View, paths: Iterable[np.ndarray], width: float) -> np.ndarray:
    """Polylines (n, 2) of one ``width``, in lesion radii -> float32 (size, size) in 0 to 1."""
    plane = np.zeros((view.size, view.size), np.uint8)
    pixels = width * view.scale
    fixed = [np.rint(view.pixels(path) * 2**_SHIFT).astype(np.int32) for path in paths]
    ink = int(255 * min(1.0, pixels))
    if fixed:
        cv2.polylines(plane, fixed, False, ink, max(1, round(pixels)), cv2.LINE_AA, _SHIFT)
    return plane.astype(np.float32) * np.float32(1 / 255)
