"""Is a picture a figure of several panels? Straight lines of one colour that cross it from side to side say so."""

import numpy as np

SAMPLES = 128  # pixels of a line that are looked at, at least
SPREAD = 14
"""grey levels between the 2nd and the 98th percentile of a line that counts as of one colour"""
THINNEST, THICKEST = 0.004, 0.12
"""of the picture's side"""
SIDE = 0.12
"""of the picture's side that a panel has at least"""
STEP = 12
"""grey levels by which the picture on both sides differs from the line, in the middle of its pixels"""


def separators(picture: np.ndarray) -> list[tuple[str, int, int]]:
    """("row" or "column", first, last) of each separator of a uint8 RGB picture (H, W, 3); none, no panels.

    Margins are no separators, and what lies on both sides has to be wide enough for a panel. Finds panels that are
    divided by a line or gap from edge to edge; a gap that only divides the lower half, panels that touch each other and
    insets are not found. A straight ruler, a caption bar inside the picture or a flat blurred band may look like one.
    """
    return [
        (name, *line)
        for name, lines in (("row", picture), ("column", picture.transpose(1, 0, 2)))
        for line in _across(lines)
    ]


def _across(lines_LPC: np.ndarray) -> list[tuple[int, int]]:
    length = len(lines_LPC)
    sample = lines_LPC[:, :: max(1, lines_LPC.shape[1] // SAMPLES)]
    low, high = np.percentile(sample, (2, 98), axis=1)
    plain_L = ((high - low) <= SPREAD).all(axis=1)
    if plain_L.all():
        return []
    content = np.flatnonzero(~plain_L)
    found = []
    for first, last in _runs(plain_L):
        inside = content[0] < first and last < content[-1]
        if not inside or not max(2, THINNEST * length) <= last - first + 1 <= max(2, THICKEST * length):
            continue
        if min(first - content[0], content[-1] - last) < SIDE * length:
            continue
        colour_C = np.median(lines_LPC[first : last + 1], axis=(0, 1))
        reach = max(2, int(0.02 * length))
        sides = lines_LPC[max(first - reach, 0) : first], lines_LPC[last + 1 : last + 1 + reach]
        if all(np.median(np.abs(side - colour_C).max(axis=2)) >= STEP for side in sides):
            found.append((first, last))
    return found


def _runs(plain_L: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], plain_L, [False]]).astype(np.int8)))
    return [(int(first), int(end) - 1) for first, end in edges.reshape(-1, 2)]
