"""The contact sheet of docs/synthetic.md: ``python -m dermis.cases.synthetic.sheet docs/images/synthetic.png``."""

import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dermis.cases.synthetic.diseases import DISEASES
from dermis.cases.synthetic.latent import Case, sample_cases
from dermis.cases.synthetic.patient import MELANIN
from dermis.cases.synthetic.render import clinical, dermoscopic

_PER_ROW = 3
_LABEL = 13


def contact_sheet(size: int = 80, pairs: int = 2, seed: int = 1) -> np.ndarray:
    """Pairs (photograph, dermoscopy) of every disease, and below one lesion on six skin tones: uint8 (h, w, 3), RGB."""
    cases = {name: _first(name, pairs, seed) for name in DISEASES}
    blocks = [_block(name, found, size) for name, found in cases.items()]
    rows = [np.hstack(blocks[i : i + _PER_ROW]) for i in range(0, len(blocks), _PER_ROW)]
    example = next(c for c in _first("Clark nevus", 20, seed) if c.lesion.site == "back")
    tones = [
        replace(example, patient=replace(example.patient, phototype=tone, melanin=melanin))
        for tone, melanin in MELANIN.items()
    ]
    return np.vstack([*rows, _block("the same Clark nevus on Fitzpatrick types 1 to 6", tones, size)])


def _first(name: str, number: int, seed: int) -> list[Case]:
    """The first cases that show their own disease, by different patients."""
    found: list[Case] = []
    for index in count():
        typical = (c for c in sample_cases(seed, index) if c.lesion.disease == c.lesion.body_of == name)
        found += list(typical)[:1]
        if len(found) == number:
            return found
    raise AssertionError("unreachable")


def _block(label: str, cases: list[Case], size: int) -> np.ndarray:
    pictures = np.hstack([np.hstack([clinical(c, size), dermoscopic(c, size)]) for c in cases])
    bar = np.full((_LABEL, pictures.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, label, (2, _LABEL - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, pictures])


if __name__ == "__main__":
    # Steps of 5 grey levels keep the file small.
    Image.fromarray(contact_sheet() // 5 * 5).save(Path(sys.argv[1]), optimize=True)
