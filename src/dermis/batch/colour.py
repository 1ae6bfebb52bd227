"""Colour jitter, greyscale and blur of uint8 (H, W, 3) pictures.

Brightness, contrast, saturation, hue and greyscale are affine in RGB once the mean colour is known, so any order of
them is one 3×4 matrix and one pass. Two things differ from torchvision. Hue turns the chroma plane of YIQ about the
grey axis (luma stays), where torchvision turns the angle of HSV; and values are clipped once, not after each step.
``jitter_exactly`` does it torchvision's way, step by step, for comparisons.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's "L"
_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)
_GREY = np.outer(np.ones(3), LUMA)

STEPS = ("brightness", "contrast", "saturation", "hue")


def colour_matrix(mean: Sequence[float], steps: Sequence[tuple[str, float]], grey: bool = False) -> np.ndarray:
    """The 3×4 matrix of ``steps``, (name, amount) in order, on a picture whose mean colour is ``mean``.

    ``amount``: a factor, 1 = unchanged, for brightness, contrast and saturation; a fraction of a full turn for hue.
    """
    matrix, offset = np.eye(3), np.zeros(3)
    for name, amount in steps:
        if name == "brightness":
            matrix, offset = amount * matrix, amount * offset
        elif name == "contrast":
            mean_luma = LUMA @ (matrix @ np.asarray(mean) + offset)
            matrix, offset = amount * matrix, amount * offset + (1 - amount) * mean_luma
        else:
            step = _hue_turn(amount) if name == "hue" else amount * np.eye(3) + (1 - amount) * _GREY
            matrix, offset = step @ matrix, step @ offset
    if grey:
        matrix, offset = _GREY @ matrix, _GREY @ offset
    return np.column_stack([matrix, offset])


def _hue_turn(turns: float) -> np.ndarray:
    # Red to green to blue, as HSV's angle grows, is clockwise in the I-Q plane.
    cos, sin = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    return _RGB @ np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]) @ _YIQ


def jitter(picture_HWC: np.ndarray, steps: Sequence[tuple[str, float]], grey: bool = False) -> np.ndarray:
    """All steps (and greyscale, last) in one pass."""
    return cv2.transform(picture_HWC, colour_matrix(cv2.mean(picture_HWC)[:3], steps, grey))


def jitter_exactly(picture_HWC: np.ndarray, steps: Sequence[tuple[str, float]], grey: bool = False) -> np.ndarray:
    """The same as torchvision does it: one step after the other, each clipped to uint8, hue in HSV."""
    levels = np.arange(256, dtype=np.float32)
    for name, amount in steps:
        if name == "hue":
            hsv = cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2HSV_FULL)
            hsv[..., 0] += np.uint8(int(amount * 255) % 256)
            picture_HWC = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
        elif name == "saturation":
            luma = cv2.cvtColor(cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            picture_HWC = cv2.addWeighted(picture_HWC, amount, luma, 1 - amount, 0)
        else:
            other = 0 if name == "brightness" else int(cv2.mean(cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2GRAY))[0] + 0.5)
            table = np.clip(amount * levels + (1 - amount) * other, 0, 255).astype(np.uint8)
            picture_HWC = cv2.LUT(picture_HWC, table)
    return cv2.cvtColor(cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) if grey else picture_HWC


def blur(picture_HWC: np.ndarray, sigma: float, kernel: int | None = None) -> np.ndarray:
    """Gaussian blur; edges reflected as torchvision's.

    ``kernel``: taps, odd; None: 2 ceil(3 sigma) + 1, beyond which the weights together are below 1/255.
    """
    taps = kernel or 2 * math.ceil(3 * sigma) + 1
    # A float kernel through sepFilter2D takes half the time of GaussianBlur, whose uint8 path is fixed-point.
    weights = cv2.getGaussianKernel(taps, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(picture_HWC, -1, weights, weights, borderType=cv2.BORDER_REFLECT_101)
