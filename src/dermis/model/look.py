"""How a model is asked: in evaluation mode, with pictures at its own size, interpolation and crop, nothing random."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from torch import nn

from dermis.batch.augment import Augmentation, Normalise, augment, views
from dermis.batch.warp import INTERPOLATIONS
from dermis.pictures.decode import decode
from dermis.registry import unknown
from dermis.towers import Transform

T = TypeVar("T")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the mode that it had after."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def evaluation_view(picture: bytes | np.ndarray, transform: Transform) -> np.ndarray:
    """An encoded picture, or a decoded one as uint8 (H, W, 3), -> float32 (3, height, width), normalised.

    Raises PictureError for bytes that cannot be read.
    """
    normalise = Normalise(transform.mean, transform.std)
    if transform.resize_mode == "squash":
        picture_HWC = decode(picture, at_least=2 * max(transform.size)) if isinstance(picture, bytes) else picture
        filter_ = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[_filter(transform)]
        height, width = transform.size
        return normalise(np.asarray(Image.fromarray(picture_HWC).resize((width, height), filter_)))
    centre = _centre(transform)
    nothing_random = np.random.default_rng(0)
    if isinstance(picture, bytes):
        return views(picture, centre, nothing_random, normalise)[0]
    return augment(picture, centre, nothing_random, normalise)


def picture_towers(model: nn.Module) -> dict[str, Any]:
    """Picture column -> the tower that looks at it; an image tower alone looks at ``image``."""
    return dict(getattr(model, "picture_towers", {"image": model}).items())


def one_of_each(columns: Iterable[str], given: T | Mapping[str, T]) -> dict[str, T]:
    """Picture column -> its picture of one case, in the columns' order; a picture alone is the only column's.

    Raises ValueError for a picture too few or too many.
    """
    columns = list(columns)
    said = ", ".join(given) or "no picture" if isinstance(given, Mapping) else "a picture of no column"
    pictures = given if isinstance(given, Mapping) else dict.fromkeys(columns[:1], given)
    if set(pictures) != set(columns):
        raise ValueError(f"this model looks at {' and '.join(columns)}; given: {said}.")
    return {column: pictures[column] for column in columns}


@lru_cache(maxsize=32)
def _centre(transform: Transform) -> Augmentation:
    if transform.size[0] != transform.size[1]:
        raise ValueError(
            f"the central crop is square; the tower wants {transform.size[0]} x {transform.size[1]} pixels."
        )
    return Augmentation(size=transform.size[0], centre=transform.crop_ratio, interpolation=_filter(transform))


def _filter(transform: Transform) -> str:
    if transform.interpolation not in INTERPOLATIONS:
        raise unknown("interpolation", transform.interpolation, INTERPOLATIONS)
    return transform.interpolation
