"""The seven-point checklist: weights and score by Argenziano et al. 1998, classes by Kawahara et al. 2019."""

from collections.abc import Mapping

from dermis.registry import unknown

CLASSES: dict[str, dict[str, tuple[str, ...]]] = {
    "pigment_network": {"absent": ("absent",), "typical": ("typical",), "atypical": ("atypical",)},
    "blue_whitish_veil": {"absent": ("absent",), "present": ("present",)},
    "vascular_structures": {
        "absent": ("absent",),
        "regular": ("arborizing", "comma", "hairpin", "within regression", "wreath"),
        "irregular": ("dotted", "linear irregular"),
    },
    "pigmentation": {
        "absent": ("absent",),
        "regular": ("diffuse regular", "localized regular"),
        "irregular": ("diffuse irregular", "localized irregular"),
    },
    "streaks": {"absent": ("absent",), "regular": ("regular",), "irregular": ("irregular",)},
    "dots_and_globules": {"absent": ("absent",), "regular": ("regular",), "irregular": ("irregular",)},
    "regression_structures": {"absent": ("absent",), "present": ("blue areas", "white areas", "combinations")},
}
"""criterion -> class of the manifest's ``finding.`` column -> the kinds drawn; as the Derm7pt reader has them"""

_POINTS = {
    ("pigment_network", "atypical"): 2,
    ("blue_whitish_veil", "present"): 2,
    ("vascular_structures", "irregular"): 2,
    ("pigmentation", "irregular"): 1,
    ("streaks", "irregular"): 1,
    ("dots_and_globules", "irregular"): 1,
    ("regression_structures", "present"): 1,
}


def class_of(criterion: str, kind: str) -> str:
    """The class that a kind belongs to: ("vascular_structures", "dotted") -> "irregular".

    Raises ValueError for an unknown criterion or kind.
    """
    if criterion not in CLASSES:
        raise unknown("seven-point criterion", criterion, CLASSES)
    for name, kinds in CLASSES[criterion].items():
        if kind == name or kind in kinds:
            return name
    raise unknown(f"kind of {criterion}", kind, [k for kinds in CLASSES[criterion].values() for k in kinds])


def seven_point_score(findings: Mapping[str, str]) -> int:
    """0 to 10 from criterion -> class or kind; 3 and more is suspicious of melanoma. Raises ValueError as above."""
    return sum(_POINTS.get((criterion, class_of(criterion, kind)), 0) for criterion, kind in findings.items())
