"""What a classification protocol hands on to be measured.

Shapes: N cases, C classes, S draws of training cases.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Scored:
    """A classification protocol's probabilities (N, C), or (S, N, C) over draws, with what to say about them."""

    protocol: str
    about: str
    scores: np.ndarray
    class_notes: dict[str, str] = field(default_factory=dict)
    notes: str = ""
    """what each number over draws is to say of itself"""
    as_panderm: bool = False
    """with the other metrics of PanDerm's tables"""
