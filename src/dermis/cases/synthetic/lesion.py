"""The body of a lesion, seen in both pictures: its pigment, blood, relief, scale and ulceration."""

import numpy as np

from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.latent import Lesion, Place
from dermis.cases.synthetic.outline import Field
from dermis.cases.synthetic.pigments import Layers
from dermis.cases.synthetic.textures import fractal
from dermis.cases.synthetic.view import View, smoothstep

_RELIEF = {"flat": 0.0, "palpable": 0.16, "nodular": 0.5}
"""height of the middle, in lesion radii"""


def region(view: View, place: Place, noise: np.ndarray, field: Field) -> np.ndarray:
    """A soft-edged, ragged patch at ``place``, cut to the lesion: float32 (size, size) in 0 to 1."""
    x, y = view.coordinates
    dx = x - np.float32(place.distance * np.cos(place.angle))
    dy = y - np.float32(place.distance * np.sin(place.angle))
    within = 1 - np.sqrt(dx * dx + dy * dy) * np.float32(1 / place.radius)
    return smoothstep(within + 0.16 * noise, 0.0, 0.3) * smoothstep(field.inside, 0.0, 0.08)


def paint_lesion(layers: Layers, view: View, field: Field, lesion: Lesion, *, relief: float) -> np.ndarray:
    """Paint the lesion's body over the skin; returns its cover (size, size), 0 outside to 1 inside."""
    draws = Draws(lesion.texture, 2)
    shifts = draws.uniforms(12).reshape(6, 2)
    broad = view.sample(fractal(2.0, 4), 7.0, shifts[0])
    fine = view.sample(fractal(1.1, 5), 4.0, shifts[1])
    # An uneven border is soft on one side and sharp on the other.
    width = np.float32(lesion.softness) * (1 + np.float32(0.6 * lesion.colour_variegation) * broad.clip(-1.2, 1.2))
    cover = smoothstep(field.inside, -0.7 * width, width)

    varied = lesion.colour_variegation
    dark = region(view, lesion.places["dark_focus"], broad, field) * np.float32(max(0.0, varied - 0.2) * 1.1)
    shape = 1 + 0.13 * fine + np.float32(0.95 * varied) * broad.clip(-1.4, 1.4) + dark
    layers.melanin += cover * np.float32(lesion.melanin) * np.maximum(shape, 0.15)
    reddish = view.sample(fractal(2.0, 6), 6.0, shifts[2])
    layers.blood += (
        cover * np.float32(lesion.blood) * (1 + 0.12 * fine + np.float32(0.9 * varied) * reddish).clip(0.1, 3)
    )
    if lesion.deep > 0.02:
        even = lesion.concepts["homogeneous_blue"]
        patchy = 1.0 if even else smoothstep(reddish - broad, -0.1, 1.4) * 1.6
        layers.deep += cover * np.float32(lesion.deep) * patchy

    top = _RELIEF[lesion.elevation] * relief
    if top:
        dome = (
            np.sqrt(field.depth * (2 - field.depth))
            if lesion.elevation == "nodular"
            else smoothstep(field.depth, 0, 0.35)
        )
        layers.height += np.float32(top) * dome * (1 + 0.05 * fine)
    if lesion.concepts["scale"]:
        crust = view.sample(fractal(1.3, 10), 3.0, shifts[3])
        flakes = smoothstep(crust + 0.4 * broad, 0.1, 1.9) * cover
        layers.keratin += np.float32(0.35 + 0.4 * relief) * flakes
        layers.height += np.float32(0.035 * relief) * flakes
    if lesion.concepts["ulceration"]:
        open_skin = region(view, lesion.places["ulceration"], fine, field)
        layers.blood += 1.1 * open_skin
        layers.melanin += 0.35 * open_skin
        layers.keratin += 0.5 * open_skin * smoothstep(view.sample(fractal(1.4, 11), 3.0, shifts[4]), 0.0, 1.5)
        layers.height -= np.float32(0.12 * relief) * open_skin
    return cover
