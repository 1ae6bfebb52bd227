"""The latent case: everything that the pictures, texts and tables of a lesion are made from."""

from dataclasses import dataclass
from math import exp, pi

from dermis.cases.seven_point import CLASSES
from dermis.cases.synthetic.diseases import DISEASES
from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.mimicry import appearance
from dermis.cases.synthetic.ontology import CONCEPTS, HISTORY, SITES, Disease
from dermis.cases.synthetic.patient import Patient, sample_patient
from dermis.cases.synthetic.shot import Shot, sample_clinical_shot, sample_dermoscopic_shot

MOST_LESIONS = 5

_LESION_STREAM, _SHOT_STREAM, _PATIENT_STREAM = 1, 2, 0

COMMON_NEVI = ("Clark nevus", "dermal nevus")
OF_BODY = ("ulceration", "scale", "homogeneous_blue")
"""concepts that belong to the body and so show in the photograph as well"""
FEELS = {"smooth": 0.4, "rough": 0.25, "firm": 0.2, "soft": 0.1, "greasy": 0.05}
"""what patients say who do not feel much"""

_LOCAL = {
    "pigment_network": (0.3, 0.55, 0.75),
    "blue_whitish_veil": (0.1, 0.5, 0.42),
    "vascular_structures": (0.1, 0.5, 0.5),
    "pigmentation": (0.25, 0.5, 0.45),
    "streaks": (0.9, 1.0, 0.6),
    "dots_and_globules": (0.3, 0.65, 0.42),
    "regression_structures": (0.2, 0.55, 0.4),
    "ulceration": (0.0, 0.45, 0.3),
    "leaf_like_areas": (0.65, 0.85, 0.4),
    "dark_focus": (0.3, 0.6, 0.38),
}
"""structure -> nearest and farthest centre, radius; in lesion radii"""

_SITE_AREA = {
    "head neck": 1.0, "chest": 0.7, "back": 1.2, "abdomen": 0.7, "upper limbs": 1.0, "lower limbs": 1.2, "acral": 0.4,
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a structure lies, in lesion coordinates: polar centre and radius, in lesion radii."""

    angle: float
    distance: float
    radius: float


@dataclass(frozen=True)
class Lesion:
    """Latent of a lesion; densities are optical, lengths in lesion radii, scores in [0, 1]."""

    disease: str
    body_of: str
    """the disease whose body it shows: its own or a mimicked one; history, site and size stay its own"""
    structures_of: str
    """the disease whose dermoscopic structures it shows"""
    site: str
    diameter_mm: float
    elevation: str
    melanin: float
    blood: float
    deep: float
    asymmetry: float
    border_irregularity: float
    colour_variegation: float
    softness: float
    harmonics: tuple[tuple[float, float], ...]
    """amplitude and phase of the radius at 1, 2, 3, … periods per turn"""
    findings: dict[str, str]
    concepts: dict[str, bool]
    places: dict[str, Place]
    history: dict[str, bool]
    months: int
    feel: str
    texture: int
    """seed of all that is random inside the lesion but has no name"""


@dataclass(frozen=True)
class Case:
    """One lesion of one patient with the settings of its two pictures."""

    seed: int
    number: int
    """place among the lesions of the patient, from 0"""
    patient: Patient
    lesion: Lesion
    clinical: Shot
    dermoscopic: Shot
    split_draw: float
    """uniform per patient; which split it falls into depends on the shares asked for"""

    @property
    def case_id(self) -> str:
        return f"s{self.seed}-p{self.patient.index:06d}-l{self.number}"


def sample_cases(seed: int, patient_index: int) -> list[Case]:
    """All cases (1 to 5) of one patient; depends on ``seed`` and ``patient_index`` alone."""
    draws = Draws(seed, patient_index, _PATIENT_STREAM)
    patient = sample_patient(draws, patient_index)
    split_draw = draws.uniform()
    # People with many nevi come with more lesions.
    lesions = 1 + sum(draws.chance(0.22 + 0.3 * patient.nevus_proneness) for _ in range(MOST_LESIONS - 1))
    cases = []
    for number in range(lesions):
        lesion = sample_lesion(Draws(seed, patient_index, _LESION_STREAM, number), patient)
        shots = Draws(seed, patient_index, _SHOT_STREAM, number)
        clinical = sample_clinical_shot(shots, lesion.diameter_mm)
        dermoscopic = sample_dermoscopic_shot(shots, lesion.diameter_mm)
        cases.append(Case(seed, number, patient, lesion, clinical, dermoscopic, split_draw))
    return cases


def disease_weights(patient: Patient) -> dict[str, float]:
    """Relative frequency of each disease for this patient, before the site is known."""

    def weight(d: Disease) -> float:
        years = (patient.age - d.age[0]) / d.age[1]
        habit = d.sun * (patient.sun_damage - 0.4) + d.nevi * (patient.nevus_proneness - 0.45)
        return d.weight * exp(-0.5 * years**2 + habit + d.fair * (3 - int(patient.phototype)))

    # A small floor: no age makes a disease impossible.
    return {name: weight(d) + 0.03 * d.weight for name, d in DISEASES.items()}


def sample_lesion(draws: Draws, patient: Patient) -> Lesion:
    """Draw a lesion of this patient."""
    name = draws.choose(disease_weights(patient))
    d = DISEASES[name]
    site = draws.choose({s: _SITE_AREA[s] * d.sites.get(s, 1.0) for s in SITES})
    # The patient's signature shapes nevi, not cancers: that is what makes an ugly duckling.
    body_of, structures_of = appearance(draws, name)
    body, structures = DISEASES[body_of], DISEASES[structures_of]
    melanin = max(0.0, draws.normal(*body.melanin)) * (patient.nevus_melanin if body_of in COMMON_NEVI else 1.0)
    asymmetry = draws.score(body.asymmetry, 0.2)
    irregularity = draws.score(body.irregularity, 0.19)
    findings = _findings(draws, structures, patient.nevus_network if structures_of in COMMON_NEVI else None)
    concepts = {c: draws.chance((body if c in OF_BODY else structures).concepts.get(c, 0.0)) for c in CONCEPTS}
    return Lesion(
        disease=name,
        body_of=body_of,
        structures_of=structures_of,
        site=site,
        diameter_mm=round(min(28.0, max(2.0, d.diameter[0] * exp(draws.normal(0, d.diameter[1])))), 1),
        elevation=draws.choose(dict(zip(("flat", "palpable", "nodular"), body.elevation, strict=True))),
        melanin=round(melanin * (1 + 0.12 * patient.melanin), 4),
        blood=round(max(0.0, draws.normal(*body.blood)), 4),
        deep=round(max(0.0, draws.normal(body.deep, 0.08 + 0.25 * body.deep)), 4),
        asymmetry=round(asymmetry, 3),
        border_irregularity=round(irregularity, 3),
        colour_variegation=round(draws.score(body.variegation, 0.2), 3),
        softness=round(body.softness * exp(draws.normal(0, 0.4)), 4),
        harmonics=_harmonics(draws, asymmetry, irregularity),
        findings=findings,
        concepts=concepts,
        places={name: _place(draws, *spread) for name, spread in _LOCAL.items()},
        history={h: draws.chance(p) for h, p in zip(HISTORY, d.history, strict=True)},
        months=max(1, round(d.months * exp(draws.normal(0, 0.9)))),
        feel=draws.choose(d.feel if draws.chance(0.75) else FEELS),
        texture=draws.below(2**31),
    )


def _findings(draws: Draws, disease: Disease, network_signature: float | None) -> dict[str, str]:
    findings = {}
    for criterion in CLASSES:
        weights = dict(disease.findings.get(criterion, {}))
        if network_signature is not None:
            if criterion == "pigment_network" and "typical" in weights:
                weights["typical"] *= 0.4 + 1.0 * network_signature
            if criterion == "dots_and_globules" and "regular" in weights:
                weights["regular"] *= 1.5 - 1.2 * network_signature
        weights["absent"] = max(0.05, 1 - sum(weights.values()))
        findings[criterion] = draws.choose(weights)
    if findings["vascular_structures"] == "within regression" and findings["regression_structures"] == "absent":
        findings["vascular_structures"] = "linear irregular"
    return findings


def _harmonics(draws: Draws, asymmetry: float, irregularity: float) -> tuple[tuple[float, float], ...]:
    sizes = [0.0, 0.05 + 0.14 * asymmetry, 0.02 + 0.14 * asymmetry]
    sizes += [0.01 + 0.42 * irregularity / k**1.35 for k in range(4, 10)]
    return tuple((round(s * draws.uniform(0.2, 1.0), 4), round(draws.uniform(0, 2 * pi), 4)) for s in sizes)


def _place(draws: Draws, nearest: float, farthest: float, radius: float) -> Place:
    angle, distance = draws.uniform(0, 2 * pi), draws.uniform(nearest, farthest)
    return Place(round(angle, 4), round(distance, 4), round(radius * draws.uniform(0.85, 1.2), 4))
