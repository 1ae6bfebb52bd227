"""Dots and lines given in lesion coordinates, drawn into a plane."""

from collections.abc import Iterable

import cv2
import numpy as np

from dermis.cases.synthetic.view import View

_SHIFT = 4


def dots(view: View, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Filled discs: centres (n, 2) and radii (n,) in lesion radii -> float32 (size, size) in 0 to 1."""
    plane = np.zeros((view.size, view.size), np.uint8)
    fixed = np.rint((view.pixels(centres)) * 2**_SHIFT).astype(int)
    widths = radii * view.scale
    for (x, y), width in zip(fixed, widths, strict=True):
        # Thinner than a pixel: a pixel of less ink.
        ink = int(255 * min(1.0, float(width) / 0.6))
        cv2.circle(plane, (int(x), int(y)), round(max(0.6, float(width)) * 2**_SHIFT), ink, -1, cv2.LINE_AA, _SHIFT)
    # Without this, discs of a pixel or two are crosses.
    plane = cv2.GaussianBlur(plane, (3, 3), 0.6)
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
