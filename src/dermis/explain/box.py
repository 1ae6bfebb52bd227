"""Which part of a picture a model saw, so that a map lies over it and nowhere else."""

from pathlib import Path

import numpy as np
from PIL import ImageOps
from torch import Tensor

from dermis.batch.warp import central_square
from dermis.model.use import Picture
from dermis.pictures.decode import size
from dermis.pictures.store import read_bytes
from dermis.towers import Transform

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def seen_box(picture: Picture, transform: Transform) -> Box:
    """Left, top, right, bottom of what ``model.look.evaluation_view`` shows, as fractions of the upright picture.

    A tensor is a view that the caller made: the fractions are of the view, all of it. Raises PictureError for a file
    that cannot be read.
    """
    if isinstance(picture, Tensor) or transform.resize_mode == "squash":
        return WHOLE
    if isinstance(picture, str | Path):
        path = Path(picture).expanduser()
        height, width = size(read_bytes(path.parent, path.name))
    elif isinstance(picture, np.ndarray):
        height, width = picture.shape[:2]
    else:
        width, height = ImageOps.exif_transpose(picture).size
    side = transform.size[0]
    tall, wide, top, left = central_square(height, width, side, transform.crop_ratio)
    return left / wide, top / tall, (left + side) / wide, (top + side) / tall
