"""Where a view lies in its picture, and the one warp that cuts it out: crop, flip, rotation, shift, zoom and resize.

A ``Cut`` is in pixels of the full picture, so it can be drawn from the header before the picture is decoded, and
``render`` works on whatever fraction was decoded. At full size without rotation, shift and zoom, OpenCV's crop + resize
+ flip takes half the time of its ``warpAffine``; otherwise the composed matrix goes through ``warpAffine`` once, which
also keeps the box exact where its corners fall between the pixels of a fraction (5 dB nearer to torchvision's view).
Beyond the picture lies its reflection, where torchvision puts black.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
CROP_TRIES = 10


@dataclass(frozen=True)
class Cut:
    """A box (pixels of the full upright picture), mirrored, then turned, shifted and zoomed about its centre.

    ``angle`` in degrees, clockwise on the screen as in torchvision; ``shift`` (x, y) as a fraction of the view.
    """

    top: int
    left: int
    height: int
    width: int
    mirror: bool = False
    upend: bool = False
    angle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0

    @property
    def is_straight(self) -> bool:
        """Crop and flips only?"""
        return self.angle == 0 and self.shift == (0, 0) and self.zoom == 1

    def pixels_per_pixel(self, size: int) -> float:
        """Picture pixels under one pixel of a view of side ``size``, along the finer axis."""
        return min(self.height, self.width) / size / self.zoom


def random_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], uniform: Iterator[float]
) -> tuple[int, int, int, int]:
    """Top, left, height, width of torchvision's RandomResizedCrop.

    An area fraction uniform in ``scale`` and an aspect ratio log-uniform in ``ratio``, tried ten times; then the
    largest central box of an allowed ratio. Takes 22 numbers of ``uniform`` whatever happens.
    """
    tries = [(next(uniform), next(uniform)) for _ in range(CROP_TRIES)]
    x, y = next(uniform), next(uniform)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for u, v in tries:
        area = height * width * (scale[0] + u * (scale[1] - scale[0]))
        aspect = math.exp(low + v * (high - low))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(y * (height - h + 1)), int(x * (width - w + 1)), h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - h) // 2, (width - w) // 2, h, w


def shrunk(picture: np.ndarray, factor: float) -> np.ndarray:
    """The picture averaged over squares of floor(``factor``) pixels, so that the interpolation after it cannot alias.

    Up to factor - 1 pixels at the lower and right edge are lost.
    """
    k = int(factor)
    if k < 2:
        return picture
    height, width = picture.shape[0] // k, picture.shape[1] // k
    return cv2.resize(picture[: height * k, : width * k], (width, height), interpolation=cv2.INTER_AREA)


def render(
    picture_HWC: np.ndarray, full: tuple[int, int], cut: Cut, size: int, interpolation: str = "bilinear"
) -> np.ndarray:
    """The view of side ``size`` as uint8 (size, size, 3). ``full``: height and width that the cut was drawn for."""
    height, width = picture_HWC.shape[:2]
    flag = INTERPOLATIONS[interpolation]
    if not cut.is_straight or (height, width) != full:
        y, x = height / full[0], width / full[1]
        flags = flag | cv2.WARP_INVERSE_MAP
        matrix = np.array([[x], [y]]) * _from_view(cut, size) + np.array([[0, 0, x - 1], [0, 0, y - 1]]) / 2
        return cv2.warpAffine(picture_HWC, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    box = picture_HWC[cut.top : cut.top + cut.height, cut.left : cut.left + cut.width]
    view = cv2.resize(box, (size, size), interpolation=flag)
    if cut.mirror or cut.upend:
        view = cv2.flip(view, 0 if not cut.mirror else -1 if cut.upend else 1)
    return view


def _from_view(cut: Cut, size: int) -> np.ndarray:
    """The 2×3 matrix from pixels of the view to pixels of the full picture (pixel centres at integers)."""
    angle = math.radians(cut.angle)
    cos, sin = math.cos(angle) / cut.zoom, math.sin(angle) / cut.zoom
    scale_x = cut.width / size * (-1 if cut.mirror else 1)
    scale_y = cut.height / size * (-1 if cut.upend else 1)
    linear = np.array([[scale_x * cos, scale_x * sin], [-scale_y * sin, scale_y * cos]])
    view_centre = (np.array(cut.shift) + 0.5) * size - 0.5
    box_centre = np.array([cut.left + cut.width / 2, cut.top + cut.height / 2]) - 0.5
    return np.column_stack([linear, box_centre - linear @ view_centre])


def centre(picture_HWC: np.ndarray, size: int, kept: float, interpolation: str) -> np.ndarray:
    """Evaluation: shorter side to floor(``size`` / ``kept``), then the central square, uint8 (size, size, 3).

    Pillow's own anti-aliased resize, because numbers are compared: bit for bit torchvision's Resize + CenterCrop.
    """
    tall, wide, top, left = central_square(*picture_HWC.shape[:2], size, kept)
    resized = Image.fromarray(picture_HWC).resize((wide, tall), _PILLOW[interpolation])
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def central_square(height: int, width: int, size: int, kept: float) -> tuple[int, int, int, int]:
    """Height and width that ``centre`` resizes a picture to, and the top and left of the square that it cuts there."""
    shorter = int(size / kept)
    tall, wide = (
        (shorter, int(shorter * width / height)) if height <= width else (int(shorter * height / width), shorter)
    )
    return tall, wide, round((tall - size) / 2), round((wide - size) / 2)
