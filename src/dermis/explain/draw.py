"""A map over its picture: as pixels, and as a figure with the scale of its colours.

Each map has its own scale, from its least value to its greatest. Between the middles of patches the colours are
interpolated; nothing finer than the patch grid is known.
"""

import io
import textwrap

import cv2
import numpy as np

from dermis.explain.maps import Map

COLOURS = "viridis"
"""told apart by colour-blind readers, and in order of brightness"""
OPACITY = 0.55
BAR = {"similarity": "cosine of patch and text", "rollout": "share of the roll-out"}


def overlay(picture_HWC: np.ndarray, found: Map) -> np.ndarray:
    """The upright picture, uint8 (H, W, 3) of any size, with the map over the part that the model saw; same size.

    Under the colours the picture is grey, so that no colour there is the skin's; outside it is as it was. Raises
    ValueError for an array of another shape.
    """
    from matplotlib import colormaps

    if picture_HWC.dtype != np.uint8 or picture_HWC.ndim != 3 or picture_HWC.shape[2] != 3:
        raise ValueError(f"the picture is uint8 (H, W, 3), not {picture_HWC.dtype} {picture_HWC.shape}.")
    height, width = picture_HWC.shape[:2]
    left, right = _pixels(found.box[0], found.box[2], width)
    top, bottom = _pixels(found.box[1], found.box[3], height)
    least, greatest = scale_of(found)
    part_hw = ((found.values - least) / (greatest - least)).astype(np.float32)
    part_HW = cv2.resize(part_hw, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    drawn_HWC = picture_HWC.copy()
    seen_HWC = drawn_HWC[top:bottom, left:right]
    grey_HW1 = cv2.cvtColor(np.ascontiguousarray(seen_HWC), cv2.COLOR_RGB2GRAY)[..., None]
    colour_HWC = 255 * colormaps[COLOURS](part_HW)[..., :3]
    seen_HWC[:] = np.rint(OPACITY * colour_HWC + (1 - OPACITY) * grey_HW1)
    return drawn_HWC


def scale_of(found: Map) -> tuple[float, float]:
    """The values of the first and the last colour; one apart where a map has one value only."""
    least, greatest = float(found.values.min()), float(found.values.max())
    return least, greatest if greatest > least else least + 1


def figure(picture_HWC: np.ndarray, found: Map) -> bytes:
    """PNG of the picture beside its overlay, with what the map is about and the scale of its colours."""
    from matplotlib import rc_context
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    height, width = picture_HWC.shape[:2]
    out = io.BytesIO()
    with rc_context({"text.parse_math": False, "font.size": 9}):
        drawn = Figure(figsize=(9.5, 0.9 + 4 * min(max(height / width, 0.4), 2.5)), layout="constrained")
        plain, over = drawn.subplots(1, 2)
        plain.imshow(picture_HWC)
        over.imshow(overlay(picture_HWC, found))
        for axes in (plain, over):
            axes.set_axis_off()
        plain.set_title(found.column)
        about = f"similarity to “{found.about}”" if found.about else "attention roll-out"
        over.set_title(textwrap.fill(about, 56))
        colours = ScalarMappable(Normalize(*scale_of(found)), COLOURS)
        drawn.colorbar(colours, ax=over, shrink=0.8, label=BAR[found.kind])
        drawn.savefig(out, format="png", dpi=120)
    return out.getvalue()


def _pixels(low: float, high: float, side: int) -> tuple[int, int]:
    """Fractions of a side as bounds in pixels, at least one apart."""
    first = min(round(low * side), side - 1)
    return first, max(round(high * side), first + 1)
