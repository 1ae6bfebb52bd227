"""Pictures with enough structure to tell apart, written to a folder."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


def textured(seed: int, height: int = 300, width: int = 400) -> np.ndarray:
    """A smooth random picture with fine structure, uint8 RGB (H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(size=(6, 8, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.normal(size=(30, 40, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 40 * coarse + 15 * fine, 0, 255).astype(np.uint8)


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    return textured


@pytest.fixture
def save(tmp_path) -> Callable[..., str]:
    """(name, picture, JPEG quality) -> the name; the file lies below tmp_path."""

    def write(name: str, picture: np.ndarray, quality: int = 92) -> str:
        path = Path(tmp_path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done
        path.write_bytes(data.tobytes())
        return name

    return write
