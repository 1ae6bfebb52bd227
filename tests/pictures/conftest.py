"""What every format promises about damaged bytes."""

import numpy as np

from dermis.pictures import PictureError
from dermis.pictures.decode import decode


def picture_or_sentence(data: bytes, **settings) -> np.ndarray | None:
    """What ``decode`` makes of damaged bytes: an RGB picture, or one sentence of PictureError (then None)."""
    sentence = None
    try:
        picture = decode(data, max_pixels=1_000_000, **settings)
    except PictureError as error:
        sentence = str(error)
    if sentence is not None:
        assert "\n" not in sentence
        assert sentence.endswith(".")
        return None
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert min(picture.shape[:2]) >= 1
    return picture
