"""What a disease of the synthetic world is: its branch, its names and how often it shows what."""

from dataclasses import dataclass, field

BRANCHES = {
    "melanocytic": "melanocytic lesion",
    "keratinocytic": "keratinocytic lesion",
    "fibrous": "fibrous lesion",
    "vascular": "vascular lesion",
}

SITES = ("head neck", "chest", "back", "abdomen", "upper limbs", "lower limbs", "acral")

HISTORY = ("grew", "changed", "itch", "bleed", "hurt")

CONCEPTS = (
    *("milia_like_cysts", "comedo_like_openings", "leaf_like_areas", "ulceration", "scale", "red_lacunae"),
    *("central_white_patch", "homogeneous_blue"),
)
"""what a lesion has or has not; asymmetry, border irregularity and colour variegation are scores beside them"""


@dataclass(frozen=True, kw_only=True)
class Disease:
    """One class. Probabilities of ``absent`` are what the others leave over."""

    branch: str
    malignant: bool
    weight: float
    """relative frequency for an average patient"""
    synonyms: tuple[str, ...]
    knowledge: str
    """one sentence of textbook knowledge"""
    age: tuple[float, float]
    """mean and deviation of the age it prefers, years"""
    sun: float = 0.0
    """log-frequency per unit of sun damage"""
    nevi: float = 0.0
    """log-frequency per unit of nevus-proneness"""
    fair: float = 0.0
    """log-frequency per step towards Fitzpatrick type 1, counted from type 3"""
    sites: dict[str, float] = field(default_factory=dict)
    """site -> factor; 1 where not named"""
    diameter: tuple[float, float]
    """median in mm, deviation of its log"""
    elevation: tuple[float, float, float]
    """flat, palpable, nodular"""
    melanin: tuple[float, float]
    blood: tuple[float, float]
    deep: float = 0.0
    """pigment in the dermis, which looks blue: mean optical density"""
    asymmetry: float
    irregularity: float
    variegation: float
    softness: float
    """width of the border relative to the radius"""
    findings: dict[str, dict[str, float]]
    concepts: dict[str, float] = field(default_factory=dict)
    history: tuple[float, float, float, float, float]
    """grew, changed, itch, bleed, hurt"""
    months: float
    """median duration"""
    feel: dict[str, float] = field(default_factory=lambda: {"smooth": 1.0})
    """what the patient says it feels like; appears in the consultation only"""
