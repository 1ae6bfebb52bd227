"""What every format promises about damaged bytes."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

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


def changes(least: int, most: int) -> st.SearchStrategy[list[tuple[float, int]]]:
    """From ``least`` to ``most`` bytes to change: (where, as a share of the range; the new value)."""
    return st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=least, max_size=most)


def changed(data: bytes, changes: Sequence[tuple[float, int]], first: int, end: int) -> bytes:
    """``data`` with the ``changes`` among its bytes from ``first`` up to ``end``."""
    damaged = bytearray(data)
    for where, value in changes:
        damaged[first + int(where * (end - first))] = value
    return bytes(damaged)
