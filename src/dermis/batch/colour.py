"""Colour jitter, greyscale and blur of uint8 (H, W, 3) pictures.

Brightness, contrast, saturation and greyscale are affine in RGB once the mean colour is known; so is a shift of HSV's
hue, as long as colours stay in one sextant of the colour circle, as those of skin mostly do. So any order of them is
one 3×4 matrix and one pass. Two things differ from torchvision: hue is the map of the sextant that the mean colour lies
in (exact for the pixels that share it, linear for the others), and values are clipped once, not after each step.
``jitter_exactly`` does it torchvision's way, step by step, for comparisons.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's "L"
_GREY = np.outer(np.ones(3), LUMA)

# Channels from highest to lowest in each sextant of HSV's circle: red-yellow, yellow-green, ...
_SEXTANTS = ((0, 1, 2), (1, 0, 2), (1, 2, 0), (2, 1, 0), (2, 0, 1), (0, 2, 1))

STEPS = ("brightness", "contrast", "saturation", "hue")


def colour_matrix(mean: Sequence[float], steps: Sequence[tuple[str, float]], grey: bool = False) -> np.ndarray:
    """The 3×4 matrix of ``steps``, (name, amount) in order, on a picture whose mean colour is ``mean``.

    ``amount``: a factor, 1 = unchanged, for brightness, contrast and saturation; a fraction of a full turn for hue.
    """
    # The offset is the same for all channels, because only contrast adds one, and the other steps keep grey.
    matrix, offset = np.eye(3), 0.0
    for name, amount in steps:
        if name == "brightness":
            matrix, offset = amount * matrix, amount * offset
            continue
        now = matrix @ mean + offset
        if name == "contrast":
            matrix, offset = amount * matrix, amount * offset + (1 - amount) * (LUMA @ now)
        else:
            step = hue_matrix(now, amount) if name == "hue" else amount * np.eye(3) + (1 - amount) * _GREY
            matrix = step @ matrix
    if grey:
        matrix = _GREY @ matrix
    return np.column_stack([matrix, np.full(3, offset)])


def hue_matrix(mean: Sequence[float], turns: float) -> np.ndarray:
    """The 3×3 matrix that shifts HSV's hue by ``turns`` of the circle, exact where ``mean``'s sextants hold.

    A shift keeps the highest and the lowest value and only says which channels have them. Between them, the hue (in
    sextants) times (highest - lowest) is a linear function of the colour.
    """
    high, middle, low = sorted(range(3), key=lambda channel: -mean[channel])
    if mean[high] == mean[low]:
        return np.eye(3)
    channel, sextant = np.eye(3), _SEXTANTS.index((high, middle, low))
    chroma, rise = channel[high] - channel[low], channel[middle] - channel[low]
    angle = sextant * chroma + (chroma - rise if sextant % 2 else rise) + 6 * turns * chroma
    target = math.floor((angle @ mean) / (chroma @ mean))
    rise = angle - target * chroma
    new_high, new_middle, new_low = _SEXTANTS[target % 6]
    matrix = np.empty((3, 3))
    matrix[new_high], matrix[new_low] = channel[high], channel[low]
    matrix[new_middle] = channel[low] + (chroma - rise if target % 2 else rise)
    return matrix


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
