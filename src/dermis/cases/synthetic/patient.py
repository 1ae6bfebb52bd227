"""The patient behind the lesions: what all lesions of one person share."""

from dataclasses import dataclass
from math import exp

from dermis.cases.synthetic.draws import Draws

PHOTOTYPES = {"1": 0.13, "2": 0.25, "3": 0.24, "4": 0.17, "5": 0.12, "6": 0.09}
"""Fitzpatrick type -> frequency"""

MELANIN = {"1": 0.05, "2": 0.16, "3": 0.36, "4": 0.65, "5": 1.08, "6": 1.65}
"""Fitzpatrick type -> optical density of the melanin in untanned skin"""


@dataclass(frozen=True)
class Patient:
    """Latent of a person; ``nevus_proneness`` and ``sun_damage`` in [0, 1], melanin and blood as optical densities."""

    index: int
    age: int
    sex: str
    phototype: str
    melanin: float
    blood: float
    sun_damage: float
    nevus_proneness: float
    nevus_melanin: float
    """signature: factor on the pigment of all nevi of this person"""
    nevus_network: float
    """signature: share of nevi with a network (the rest is globular), in [0, 1]"""
    hair: float
    hair_melanin: float
    sunburns: bool
    skin_cancer_history: bool
    family_history: bool


def sample_patient(draws: Draws, index: int) -> Patient:
    """Draw a person: age and phototype first, the rest given those."""
    age = int(min(93, max(6, round(draws.normal(52, 20)))))
    sex = draws.one_of(("female", "male"))
    phototype = draws.choose(PHOTOTYPES)
    fair = 3 - int(phototype)
    melanin = MELANIN[phototype] * exp(draws.normal(0, 0.14)) + 0.01
    outdoors = draws.score(0.45, 0.25)
    sun_damage = min(1.0, max(0.0, (age / 75) * outdoors * (1.05 + 0.17 * fair)))
    nevus_proneness = draws.score(0.42 + 0.04 * fair, 0.25)
    return Patient(
        index=index,
        age=age,
        sex=sex,
        phototype=phototype,
        melanin=round(melanin, 4),
        blood=round(draws.score(0.13, 0.045), 4),
        sun_damage=round(sun_damage, 4),
        nevus_proneness=round(nevus_proneness, 4),
        nevus_melanin=round(exp(draws.normal(0, 0.22)), 4),
        nevus_network=round(draws.uniform(), 4),
        hair=round(draws.score(0.32 if sex == "male" else 0.15, 0.2), 4),
        hair_melanin=round(min(3.5, max(0.5, draws.normal(2.6 - 0.35 * max(fair, 0), 0.6))), 4),
        sunburns=draws.chance(0.15 + 0.45 * outdoors * (fair > 0)),
        skin_cancer_history=draws.chance(0.02 + 0.4 * sun_damage),
        family_history=draws.chance(0.05 + 0.2 * nevus_proneness),
    )
