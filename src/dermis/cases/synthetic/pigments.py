"""Skin colour as light absorption: planes of pigment in, RGB out.

A picture is exp(-density), density = sum over pigments of amount times absorption in R, G, B (Beer-Lambert, with
display gamma folded into the absorptions). Melanin in the epidermis is brown, blood is red, melanin in the dermis is
blue because short wavelengths are scattered back before they reach it. White scars, haze and scale cover rather than
absorb.
"""

from dataclasses import dataclass

import cv2
import numpy as np

_BARE = np.array([0.02, 0.075, 0.115], np.float32)
_ABSORPTION = np.array([[0.56, 0.78, 0.95], [0.14, 0.76, 0.74], [0.74, 0.50, 0.29]], np.float32)
_SCAR = np.array([0.93, 0.87, 0.85], np.float32)
_KERATIN = np.array([0.90, 0.83, 0.70], np.float32)


@dataclass
class Layers:
    """What the skin is made of at each pixel: float32 planes (size, size), changed in place by what is painted."""

    melanin: np.ndarray
    blood: np.ndarray
    deep: np.ndarray
    """melanin in the dermis"""
    white: np.ndarray
    """cover of scar or haze, 0 to 1"""
    keratin: np.ndarray
    """cover of scale, crust or horn, 0 to 1"""
    height: np.ndarray
    """relief, in lesion radii"""

    @classmethod
    def empty(cls, size: int) -> "Layers":
        return cls(*np.zeros((6, size, size), np.float32))


def colour(layers: Layers, shade: np.ndarray, balance: np.ndarray, tone: float) -> np.ndarray:
    """RGB in 0 to 1, (size, size, 3) float32.

    ``shade`` (size, size) and ``balance`` (3,) are log light; ``tone`` is the melanin of the healthy skin.
    """
    pigments = np.maximum(cv2.merge([layers.melanin, layers.blood, layers.deep]), 0)
    light = (balance - _BARE)[:, None]
    rgb = np.exp(cv2.transform(pigments, np.hstack([-_ABSORPTION.T, light])) + shade[..., None])
    for cover, tint, darkening in ((layers.white, _SCAR, 0.45), (layers.keratin, _KERATIN, 0.25)):
        if cover.any():
            # A scar in dark skin is not as white as one in fair skin.
            opaque = (np.clip(cover, 0, 0.9) * np.exp(shade))[..., None]
            rgb += opaque * (tint * np.exp(balance - darkening * tone) - rgb)
    return rgb
