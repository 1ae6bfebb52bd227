"""Healthy skin around and under the lesion: tone, mottling, creases, pores, ridges, freckles."""

import numpy as np

from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.latent import Case
from dermis.cases.synthetic.pigments import Layers
from dermis.cases.synthetic.textures import CELLS, cells, fractal, spots
from dermis.cases.synthetic.view import View, smoothstep

_BLOOD = {"head neck": 0.1, "acral": 0.08, "chest": 0.03}
"""site -> blood above the patient's own"""


def paint_skin(layers: Layers, view: View, case: Case, *, relief: float) -> None:
    """Lay the patient's skin at the lesion's site; ``relief`` 1 in a photograph, less under the dermoscope's plate.

    Sizes are in millimetres, drawn two to three times coarser than life so that 96 pixels can show them.
    """
    patient, lesion = case.patient, case.lesion
    draws = Draws(lesion.texture, 1)
    shifts = draws.uniforms(12).reshape(6, 2)
    mm = view.mm

    mottle = view.sample(fractal(1.6, 0), 30 * mm, shifts[0])
    flush = view.sample(fractal(1.8, 1), 22 * mm, shifts[1])
    layers.melanin += patient.melanin * (1 + 0.09 * mottle)
    layers.blood += patient.blood + _BLOOD.get(lesion.site, 0.0) + 0.05 * flush

    coarse = 1 + 0.6 * patient.age / 90
    if lesion.site == "acral":
        x, y = view.coordinates
        turn = draws.uniform(0, np.pi)
        along = np.float32(np.cos(turn) / mm) * x + np.float32(np.sin(turn) / mm) * y
        ridge = np.cos((2 * np.pi / 1.3) * along + 2.2 * view.sample(fractal(2.2, 2), 40 * mm, shifts[2]))
        layers.melanin += (0.035 + 0.06 * patient.melanin) * -ridge
        layers.height += relief * 0.009 * mm * ridge
    else:
        edge = view.sample(cells(0.9, 0), CELLS * coarse * mm, shifts[2], stretch=0.7)
        crease = 1 - smoothstep(edge, 0.0, 0.3)
        layers.melanin += (0.035 + 0.06 * patient.melanin) * crease
        layers.blood += 0.03 * crease
        layers.height -= relief * 0.028 * coarse * mm * crease
    grain = view.sample(fractal(0.7, 3), 14 * mm, shifts[3])
    layers.height += relief * 0.010 * coarse * mm * grain
    layers.melanin += 0.02 * grain
    if lesion.site in ("head neck", "chest"):
        pore = smoothstep(view.sample(spots(3.0, 0), 20 * mm, shifts[4]), 1.3, 2.4)
        layers.melanin += 0.14 * pore
        layers.blood += 0.12 * pore
        layers.height -= relief * 0.03 * mm * pore
    if patient.sun_damage > 0.15 and lesion.site != "acral":
        freckle = smoothstep(view.sample(spots(7.0, 1), 55 * mm, shifts[5]), 2.3 - 1.3 * patient.sun_damage, 3.0)
        layers.melanin += 0.45 * patient.sun_damage * freckle
