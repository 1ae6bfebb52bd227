"""Which disease looks like which other: what keeps the task from being trivial, and what tables and talk can repair."""

from dermis.cases.synthetic.draws import Draws

MIMICS: dict[str, dict[str, float]] = {
    "melanoma": {"Clark nevus": 0.12, "seborrheic keratosis": 0.04, "Spitz nevus": 0.03, "blue nevus": 0.02},
    "Clark nevus": {"melanoma": 0.07, "solar lentigo": 0.04, "dermal nevus": 0.04, "Spitz nevus": 0.02},
    "dermal nevus": {"Clark nevus": 0.06, "basal cell carcinoma": 0.06, "seborrheic keratosis": 0.04},
    "blue nevus": {"melanoma": 0.07, "cherry angioma": 0.04, "dermatofibroma": 0.04, "dermal nevus": 0.03},
    "Spitz nevus": {"melanoma": 0.11, "Clark nevus": 0.06, "dermal nevus": 0.04, "cherry angioma": 0.02},
    "basal cell carcinoma": {"squamous cell carcinoma": 0.06, "dermal nevus": 0.05, "actinic keratosis": 0.05},
    "squamous cell carcinoma": {"basal cell carcinoma": 0.08, "actinic keratosis": 0.08, "seborrheic keratosis": 0.04},
    "actinic keratosis": {"squamous cell carcinoma": 0.06, "basal cell carcinoma": 0.06, "seborrheic keratosis": 0.06},
    "seborrheic keratosis": {"melanoma": 0.05, "solar lentigo": 0.06, "actinic keratosis": 0.05, "Clark nevus": 0.04},
    "solar lentigo": {"seborrheic keratosis": 0.09, "Clark nevus": 0.07, "actinic keratosis": 0.04},
    "dermatofibroma": {"dermal nevus": 0.08, "Clark nevus": 0.06, "basal cell carcinoma": 0.04},
    "cherry angioma": {"basal cell carcinoma": 0.04, "blue nevus": 0.04, "melanoma": 0.03, "dermal nevus": 0.03},
}
"""disease -> the diseases whose body it may show, and how often"""

SEEN_THROUGH = 0.5
"""share of mimicked bodies in which dermoscopy shows the structures of the true disease"""

MISLEADING = 0.05
"""share of true bodies with the structures of a mimicked disease"""


def appearance(draws: Draws, name: str) -> tuple[str, str]:
    """The diseases whose body and whose dermoscopic structures a lesion of disease ``name`` shows."""
    mimics = MIMICS[name]
    if draws.chance(sum(mimics.values())):
        mimicked = draws.choose(mimics)
        return mimicked, name if draws.chance(SEEN_THROUGH) else mimicked
    return name, draws.choose(mimics) if draws.chance(MISLEADING) else name
