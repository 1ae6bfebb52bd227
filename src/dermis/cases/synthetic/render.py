"""A latent case as pictures: the photograph and the dermoscopic view of the same lesion."""

import numpy as np

from dermis.cases.synthetic.camera import expose
from dermis.cases.synthetic.latent import Case
from dermis.cases.synthetic.lesion import paint_lesion
from dermis.cases.synthetic.outline import field_of, radii
from dermis.cases.synthetic.pigments import Layers
from dermis.cases.synthetic.shot import Shot
from dermis.cases.synthetic.skin import paint_skin
from dermis.cases.synthetic.structures import paint_structures
from dermis.cases.synthetic.view import View


def clinical(case: Case, size: int = 96) -> np.ndarray:
    """The photograph: uint8 (size, size, 3), RGB."""
    return _render(case, case.clinical, size, dermoscopic=False)


def dermoscopic(case: Case, size: int = 96) -> np.ndarray:
    """The dermoscopic picture: uint8 (size, size, 3), RGB."""
    return _render(case, case.dermoscopic, size, dermoscopic=True)


def mask(case: Case, shot: Shot, size: int = 96) -> np.ndarray:
    """The lesion in a picture (``case.clinical`` or ``case.dermoscopic``), exact: uint8 (size, size), 0 or 255."""
    view = View.of(shot, case.lesion.diameter_mm, size)
    return np.where(field_of(view, radii(case.lesion)).inside > 0, np.uint8(255), np.uint8(0))


def _render(case: Case, shot: Shot, size: int, *, dermoscopic: bool) -> np.ndarray:
    if size < 16:
        raise ValueError(f"a picture of {size} pixels cannot show a lesion; the least is 16.")
    view = View.of(shot, case.lesion.diameter_mm, size)
    radius = radii(case.lesion)
    field = field_of(view, radius)
    layers = Layers.empty(size)
    relief = 0.25 if dermoscopic else 1.0
    paint_skin(layers, view, case, relief=relief)
    cover = paint_lesion(layers, view, field, case.lesion, relief=relief)
    paint_structures(layers, view, field, case.lesion, cover, radius, dermoscopic=dermoscopic)
    return expose(layers, view, shot, case.patient, case.lesion.site, dermoscopic=dermoscopic)
