"""How a picture was taken: the camera's settings, drawn per picture and independent of the disease."""

from dataclasses import dataclass
from math import exp, pi

from dermis.cases.synthetic.draws import Draws


@dataclass(frozen=True)
class Shot:
    """Settings of one picture. Lengths relative to the picture's side; angles in radians."""

    field_mm: float
    """side of the picture on the skin"""
    angle: float
    """of the camera about its axis"""
    centre: tuple[float, float]
    """of the lesion in the picture (x, y)"""
    light: float
    """direction the light comes from"""
    slope: float
    """fall-off of the light across the picture, log units"""
    exposure: float
    """log units"""
    balance: tuple[float, float, float]
    """white balance, log units"""
    blur: float
    """standard deviation, relative to the side"""
    noise: float
    """standard deviation, grey levels"""
    vignette: float
    """radius where the dark surround begins; 2 and more: none"""
    glare: int
    """number of bright reflections"""
    ruler: bool
    """a paper scale with millimetre marks lies along the lower edge"""
    seed: int
    """of hair, noise and glare"""


def sample_clinical_shot(draws: Draws, diameter_mm: float) -> Shot:
    """A photograph by phone or camera, some distance away, light from one side."""
    field = diameter_mm * exp(draws.normal(0.95, 0.2))
    # Cameras keep their distance from small lesions: picture and diameter together tell the scale, neither alone.
    field = min(60.0, max(9.0, field))
    return Shot(
        field_mm=round(field, 3),
        angle=round(draws.uniform(0, 2 * pi), 4),
        centre=(round(0.5 + draws.uniform(-0.08, 0.08), 4), round(0.5 + draws.uniform(-0.08, 0.08), 4)),
        light=round(draws.uniform(0, 2 * pi), 4),
        slope=round(draws.uniform(0.05, 0.35), 4),
        exposure=round(draws.normal(-0.07, 0.08), 4),
        balance=tuple(round(draws.normal(0, sd), 4) for sd in (0.03, 0.012, 0.045)),
        blur=round(draws.uniform(0.002, 0.007), 5),
        noise=round(draws.uniform(0.8, 2.6), 3),
        vignette=2.0,
        glare=0,
        ruler=draws.chance(0.3),
        seed=draws.below(2**31),
    )


def sample_dermoscopic_shot(draws: Draws, diameter_mm: float) -> Shot:
    """Contact dermoscopy: the lesion fills the field, even light, gel, often a round black surround."""
    field = diameter_mm * exp(draws.normal(0.33, 0.1))
    round_field = draws.chance(0.5)
    return Shot(
        field_mm=round(field, 3),
        angle=round(draws.uniform(0, 2 * pi), 4),
        centre=(round(0.5 + draws.uniform(-0.05, 0.05), 4), round(0.5 + draws.uniform(-0.05, 0.05), 4)),
        light=round(draws.uniform(0, 2 * pi), 4),
        slope=round(draws.uniform(0.0, 0.08), 4),
        exposure=round(draws.normal(-0.05, 0.06), 4),
        balance=tuple(round(draws.normal(mean, 0.02), 4) for mean in (0.0, 0.0, 0.03)),
        blur=round(draws.uniform(0.0015, 0.004), 5),
        noise=round(draws.uniform(0.6, 1.8), 3),
        vignette=round(draws.uniform(0.44, 0.6), 4) if round_field else 2.0,
        glare=draws.below(4),
        ruler=False,
        seed=draws.below(2**31),
    )
