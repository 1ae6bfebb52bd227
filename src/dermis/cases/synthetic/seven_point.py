"""The seven-point checklist: classes, weights and score (Argenziano et al. 1998; classes as in Kawahara et al. 2019)."""

from collections.abc import Mapping

from dermis.registry import unknown

CLASSES: dict[str, tuple[str, ...]] = {
    "pigment_network": ("absent", "typical", "atypical"),
    "blue_whitish_veil": ("absent", "present"),
    "vascular_structures": (
        *("absent", "arborizing", "comma", "hairpin", "within regression", "wreath"),
        *("dotted", "linear irregular"),
    ),
    "pigmentation": ("absent", "diffuse regular", "localized regular", "diffuse irregular", "localized irregular"),
    "streaks": ("absent", "regular", "irregular"),
    "dots_and_globules": ("absent", "regular", "irregular"),
    "regression_structures": ("absent", "blue areas", "white areas", "combinations"),
}
"""criterion -> the classes that Derm7pt annotates"""

WEIGHTS: dict[str, dict[str, int]] = {
    "pigment_network": {"atypical": 2},
    "blue_whitish_veil": {"present": 2},
    "vascular_structures": {"dotted": 2, "linear irregular": 2},
    "pigmentation": {"diffuse irregular": 1, "localized irregular": 1},
    "streaks": {"irregular": 1},
    "dots_and_globules": {"irregular": 1},
    "regression_structures": {"blue areas": 1, "white areas": 1, "combinations": 1},
}
"""criterion -> the classes that score; major criteria 2, minor ones 1"""


def seven_point_score(findings: Mapping[str, str]) -> int:
    """0 to 10; 3 or more is suspicious of melanoma. Raises ValueError for an unknown criterion or class."""
    score = 0
    for criterion, value in findings.items():
        if criterion not in CLASSES:
            raise unknown("seven-point criterion", criterion, CLASSES)
        if value not in CLASSES[criterion]:
            raise unknown(f"class of {criterion}", value, CLASSES[criterion])
        score += WEIGHTS[criterion].get(value, 0)
    return score
