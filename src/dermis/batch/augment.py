"""Encoded picture -> normalised views. The papers' augmentation families, each one frozen dataclass.

All random numbers of a view are drawn first, always the same count in the same order, from the picture's upright size.
So the result depends only on the generator, and the size of the smallest crop decides how small a JPEG is decoded.

In each process that calls this: ``cv2.setNumThreads(0)``, or OpenCV's threads fight the other workers.
"""

import math
from dataclasses import dataclass, fields
from functools import lru_cache

import cv2
import numpy as np

from dermis.batch import colour
from dermis.batch.warp import CROP_TRIES, INTERPOLATIONS, Cut, centre, random_box, render, shrunk
from dermis.pictures.decode import decode, size
from dermis.registry import unknown

_DRAWS = 2 * CROP_TRIES + 2 + 2 + 4 + 1 + 2 * len(colour.STEPS) + 1 + 2


@dataclass(frozen=True)
class Normalise:
    """uint8 (H, W, 3) -> float32 (3, H, W): (value / 255 - mean) / std per channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, picture_HWC: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Into ``out`` if given. Only 256 values can occur per channel, so it is a table, exact and fast."""
        height, width = picture_HWC.shape[:2]
        out = np.empty((3, height, width), np.float32) if out is None else out
        for plane, table, target in zip(cv2.split(picture_HWC), _tables(self.mean, self.std), out, strict=True):
            cv2.LUT(plane, table, dst=target)
        return out


@lru_cache(maxsize=32)
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    levels = np.arange(256)[None] / 255
    return ((levels - np.array(mean)[:, None]) / np.array(std)[:, None]).astype(np.float32)


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a picture on its way to a square view; the defaults squeeze all of it into the square.

    Raises ValueError where a setting is out of range or would have no effect.
    """

    size: int = 224
    """side of the view in pixels"""
    scale: tuple[float, float] = (1.0, 1.0)
    """area of the random crop as a fraction of the picture"""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """aspect ratio (width / height) of the random crop"""
    centre: float | None = None
    """evaluation instead of a random crop: the part of the shorter side that the central square keeps"""
    horizontal_flip: float = 0.0
    """probability"""
    vertical_flip: float = 0.0
    """probability"""
    rotation: float = 0.0
    """largest angle in degrees, either way"""
    translate: float = 0.0
    """largest shift as a fraction of the view, either way, each axis"""
    zoom: tuple[float, float] = (1.0, 1.0)
    """magnification about the centre"""
    jitter: float = 0.0
    """probability of colour jitter: the four below in random order"""
    brightness: float = 0.0
    """factor within 1 ± this; likewise contrast and saturation"""
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    """turn within ± this part of the colour circle (at most 0.5)"""
    grayscale: float = 0.0
    """probability"""
    blur: float = 0.0
    """probability of Gaussian blur"""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """pixels of the view"""
    blur_kernel: int | None = None
    """taps, odd; None: as many as sigma needs"""
    interpolation: str = "bilinear"
    """bilinear or bicubic"""

    def __post_init__(self) -> None:
        """Refuse what is out of range or without effect."""
        if self.interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", self.interpolation, INTERPOLATIONS)
        for name in ("horizontal_flip", "vertical_flip", "jitter", "grayscale", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability from 0 to 1, not {getattr(self, name)}.")
        for name, top in (("scale", 1.0), ("ratio", math.inf), ("zoom", math.inf), ("blur_sigma", math.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= top:
                raise ValueError(f"{name} is (low, high) with 0 < low <= high <= {top}, not ({low}, {high}).")
        for name, top in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5), ("translate", 1)):
            if not 0 <= getattr(self, name) <= top:
                raise ValueError(f"{name} is from 0 to {top}, not {getattr(self, name)}.")
        if self.size < 1 or (self.blur_kernel is not None and (self.blur_kernel < 1 or self.blur_kernel % 2 == 0)):
            raise ValueError(f"size ({self.size}) is positive and blur_kernel ({self.blur_kernel}) odd and positive.")
        if self.centre is not None and not 0 < self.centre <= 1:
            raise ValueError(f"centre is the part of the shorter side that is kept, 0 to 1, not {self.centre}.")
        colours = any((self.brightness, self.contrast, self.saturation, self.hue))
        if colours != bool(self.jitter):
            raise ValueError(
                "colour jitter needs both: a probability (jitter) and an amount (brightness, contrast, …)."
            )
        changed = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        if not self.blur and (idle := [name for name in changed if name.startswith("blur_")]):
            raise ValueError(f"{' and '.join(idle)} has no effect without blur (a probability).")
        if self.centre is not None and (idle := [name for name in changed if name not in _EVALUATION]):
            raise ValueError(
                f"centre is for evaluation and random crops for training: {', '.join(idle)} has no effect."
            )


_EVALUATION = ("size", "centre", "interpolation")
_SKIN_JITTER = {"jitter": 0.8, "brightness": 0.32, "contrast": 0.32, "saturation": 0.32, "hue": 0.08}

AUGMENTATIONS: dict[str, Augmentation] = {
    # Chen et al. 2020 (arXiv:2002.05709) at colour strength 0.4 and without greyscale: colour is diagnostic.
    "simclr": Augmentation(scale=(0.4, 1.0), horizontal_flip=0.5, blur=0.5, **_SKIN_JITTER),
    # MAKE 2025 (arXiv:2505.09372), released training command: no flip, no rotation.
    "make": Augmentation(scale=(0.4, 1.0), grayscale=0.2, interpolation="bicubic", **_SKIN_JITTER),
    # He et al. 2022 (arXiv:2111.06377), Section 4: a crop and a flip; the amounts are the release's.
    "mae": Augmentation(scale=(0.2, 1.0), horizontal_flip=0.5, interpolation="bicubic"),
    # SM3 2024, released code. Its 25-pixel trim of the Derm7pt borders is not done here.
    "sm3": Augmentation(
        scale=(0.5, 1.0),
        horizontal_flip=0.5,
        jitter=0.8,
        brightness=0.8,
        contrast=0.8,
        saturation=0.8,
        hue=0.2,
        grayscale=0.2,
        blur=0.5,
        blur_kernel=3,
    ),
    # SM3's release, mlc_train.py: no greyscale, no blur, jitter half of the time.
    "sm3-labels": Augmentation(
        scale=(0.5, 1.0), horizontal_flip=0.5, jitter=0.5, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2
    ),
    # SM3's linear probing and fine-tuning, mlc_eval.py
    "sm3-probe": Augmentation(scale=(0.3, 1.0), horizontal_flip=0.5),
    # M2CG lists crop, flip, rotation, shift, scale and blur without amounts; these are ConVIRT's (arXiv:2010.00747).
    "m2cg": Augmentation(
        scale=(0.6, 1.0),
        horizontal_flip=0.5,
        rotation=20.0,
        translate=0.1,
        zoom=(0.95, 1.05),
        blur=0.5,
        blur_sigma=(0.1, 3.0),
    ),
    # SLIMP states none; its tiles are cut from total-body photographs and have no up, and colour is diagnostic.
    "slimp": Augmentation(
        scale=(0.5, 1.0),
        horizontal_flip=0.5,
        vertical_flip=0.5,
        rotation=180.0,
        jitter=0.8,
        brightness=0.1,
        contrast=0.1,
        saturation=0.1,
        hue=0.02,
    ),
    "light": Augmentation(scale=(0.8, 1.0), horizontal_flip=0.5),
    "centre": Augmentation(centre=1.0, interpolation="bicubic"),
}


# A fraction with 0.9 of the view's pixels is as near to the anti-aliased full-size view as the double fraction (PSNR).
_ENOUGH = 0.9


@dataclass(frozen=True)
class _View:
    """Everything random about one view."""

    cut: Cut
    steps: tuple[tuple[str, float], ...]
    grey: bool
    sigma: float | None


def _draw(augmentation: Augmentation, full: tuple[int, int], rng: np.random.Generator) -> _View:
    a, uniform = augmentation, iter(rng.random(_DRAWS).tolist())

    def between(low: float, high: float) -> float:
        return low + next(uniform) * (high - low)

    box = random_box(*full, a.scale, a.ratio, uniform)
    cut = Cut(
        *box,
        mirror=next(uniform) < a.horizontal_flip,
        upend=next(uniform) < a.vertical_flip,
        angle=between(-a.rotation, a.rotation),
        shift=(between(-a.translate, a.translate), between(-a.translate, a.translate)),
        zoom=between(*a.zoom),
    )
    jitters = next(uniform) < a.jitter
    amounts = [between(1 - x, 1 + x) for x in (a.brightness, a.contrast, a.saturation)] + [between(-a.hue, a.hue)]
    order = sorted(zip([next(uniform) for _ in colour.STEPS], colour.STEPS, amounts, strict=True))
    grey = next(uniform) < a.grayscale
    blurs, sigma = next(uniform) < a.blur, between(*a.blur_sigma)
    steps = tuple((name, amount) for _, name, amount in order) if jitters else ()
    return _View(cut, steps, grey, sigma if blurs else None)


def _finish(view_HWC: np.ndarray, view: _View, augmentation: Augmentation) -> np.ndarray:
    if view.steps or view.grey:
        view_HWC = colour.jitter(view_HWC, view.steps, view.grey)
    if view.sigma is not None:
        view_HWC = colour.blur(view_HWC, view.sigma, augmentation.blur_kernel)
    return view_HWC


def augment(
    picture_HWC: np.ndarray, augmentation: Augmentation, rng: np.random.Generator, normalise: Normalise
) -> np.ndarray:
    """One view of a decoded picture, uint8 (H, W, 3) -> float32 (3, size, size)."""
    if augmentation.centre is not None:
        return normalise(centre(picture_HWC, augmentation.size, augmentation.centre, augmentation.interpolation))
    full = picture_HWC.shape[:2]
    view = _draw(augmentation, full, rng)
    picture_HWC = shrunk(picture_HWC, view.cut.pixels_per_pixel(augmentation.size))
    cut = render(picture_HWC, full, view.cut, augmentation.size, augmentation.interpolation)
    return normalise(_finish(cut, view, augmentation))


def views(
    data: bytes, augmentation: Augmentation, rng: np.random.Generator, normalise: Normalise, count: int = 1
) -> np.ndarray:
    """``count`` views of an encoded picture, float32 (count, 3, size, size), decoded once.

    A JPEG is decoded at the power-of-two fraction that gives the smallest crop its own resolution, or a little less
    (``_ENOUGH``); for ``centre``, at no less than twice the resized shorter side, which Pillow's filter then reduces.
    Raises PictureError.
    """
    a, full = augmentation, size(data)
    out = np.empty((count, 3, a.size, a.size), np.float32)
    if a.centre is not None:
        picture_HWC = decode(data, at_least=2 * int(a.size / a.centre))
        out[:] = normalise(centre(picture_HWC, a.size, a.centre, a.interpolation))
        return out
    drawn = [_draw(a, full, rng) for _ in range(count)]
    excess = min(view.cut.pixels_per_pixel(a.size) for view in drawn)
    picture_HWC = decode(data, at_least=int(_ENOUGH * min(full) / excess))
    picture_HWC = shrunk(picture_HWC, excess * picture_HWC.shape[0] / full[0])
    for view, target in zip(drawn, out, strict=True):
        cut = render(picture_HWC, full, view.cut, a.size, a.interpolation)
        normalise(_finish(cut, view, a), out=target)
    return out
