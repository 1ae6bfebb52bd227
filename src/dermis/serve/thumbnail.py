"""Small pictures for people to look at: of what was sent, and of the cases that are searched."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from dermis.pictures.decode import decode
from dermis.pictures.store import read_bytes

FOUND = 320
"""pixels, the longer side of a found case's picture"""


def shrunk(data: bytes, longest: int) -> np.ndarray:
    """An encoded picture, upright, uint8 (H, W, 3), with no side above ``longest`` pixels."""
    picture_HWC = decode(data, at_least=longest)
    height, width = picture_HWC.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return picture_HWC
    small = Image.fromarray(picture_HWC).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BICUBIC, reducing_gap=2
    )
    return np.asarray(small)


def jpeg(root: Path, path: str) -> bytes:
    """A picture of a manifest, small and encoded anew: nothing of its file's metadata is in it."""
    out = BytesIO()
    Image.fromarray(shrunk(read_bytes(root, path), FOUND)).save(out, "JPEG", quality=85)
    return out.getvalue()
