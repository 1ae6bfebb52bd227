"""The seven-point checklist of dermoscopy: criteria, their classes, and the two ways of counting them.

Criteria and points are those of Argenziano et al. 1998 (Arch Dermatol 134, 1563), the classes and the words that belong
to them those of Derm7pt (Kawahara et al. 2019; jeremykawahara/derm7pt @ ce43687, dataset.py).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dermis.registry import unknown

ABSENT, PRESENT, REGULAR, IRREGULAR = "absent", "present", "regular", "irregular"
CLASSES: dict[str, dict[str, tuple[str, ...]]] = {
    "pigment_network": {ABSENT: (ABSENT,), "typical": ("typical",), "atypical": ("atypical",)},
    "blue_whitish_veil": {ABSENT: (ABSENT,), PRESENT: (PRESENT,)},
    "vascular_structures": {
        ABSENT: (ABSENT,),
        REGULAR: ("arborizing", "comma", "hairpin", "within regression", "wreath"),
        IRREGULAR: ("dotted", "linear irregular"),
    },
    "pigmentation": {
        ABSENT: (ABSENT,),
        REGULAR: ("diffuse regular", "localized regular"),
        IRREGULAR: ("diffuse irregular", "localized irregular"),
    },
    "streaks": {ABSENT: (ABSENT,), REGULAR: (REGULAR,), IRREGULAR: (IRREGULAR,)},
    "dots_and_globules": {ABSENT: (ABSENT,), REGULAR: (REGULAR,), IRREGULAR: (IRREGULAR,)},
    "regression_structures": {ABSENT: (ABSENT,), PRESENT: ("blue areas", "white areas", "combinations")},
}
"""criterion -> class of the manifest's ``finding.`` column -> the kinds of it, as Derm7pt's table words them"""

MAJOR, MINOR = 2, 1
POINTS: dict[str, tuple[str, int]] = {
    "pigment_network": ("atypical", MAJOR),
    "blue_whitish_veil": (PRESENT, MAJOR),
    "vascular_structures": (IRREGULAR, MAJOR),
    "pigmentation": (IRREGULAR, MINOR),
    "streaks": (IRREGULAR, MINOR),
    "dots_and_globules": (IRREGULAR, MINOR),
    "regression_structures": (PRESENT, MINOR),
}
"""criterion -> its suspicious class and what that counts in 1998: the three major criteria 2, the four minor ones 1"""


@dataclass(frozen=True)
class Rule:
    """A way of counting: points per suspicious criterion, and the score from which melanoma is suspected."""

    points: Mapping[str, int]
    threshold: int

    @property
    def highest(self) -> int:
        """The score of a lesion with all seven."""
        return sum(self.points.values())


RULES = {
    "weighted": Rule({criterion: points for criterion, (_, points) in POINTS.items()}, threshold=3),
    "revised": Rule(dict.fromkeys(POINTS, 1), threshold=1),
}
"""weighted: Argenziano et al. 1998, 0 to 10, melanoma is suspected from 3. revised: Argenziano et al. 2011 (Br J
Dermatol 164, 785), every criterion counts 1, 0 to 7, suspected from 1: more sensitive, less specific."""


def rule_of(name: str) -> Rule:
    """The rule of that name; raises ValueError for another one."""
    if name not in RULES:
        raise unknown("rule of the seven-point checklist", name, RULES)
    return RULES[name]


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


def seven_point_score(findings: Mapping[str, str], rule: str = "weighted") -> int:
    """The score of criterion -> class or kind; a criterion that is not named counts nothing.

    Raises ValueError for an unknown criterion, kind or rule.
    """
    points = rule_of(rule).points
    return sum(points[name] for name, kind in findings.items() if class_of(name, kind) == POINTS[name][0])


NAMED = re.compile(r"\bmelanomas?\b", re.IGNORECASE)
DENIED = re.compile(r"\b(no|non|not|without|except)\W+(an? )?melanoma|melanomas?\b.*\bexcluded\b", re.IGNORECASE)


def melanomas(diagnoses: Iterable[str]) -> list[str]:
    """Those that name melanoma, of which the checklist warns: "melanoma", "melanoma (in situ)", "nodular melanoma".

    "non-melanoma skin cancer", "no melanoma" and "melanoma excluded" are none. Raises ValueError if there is none.
    """
    words = {name: name.replace("_", " ") for name in map(str, diagnoses)}
    found = [name for name, said in words.items() if NAMED.search(said) and not DENIED.search(said)]
    if not found:
        raise ValueError(f"none of the diagnoses names melanoma, of which the checklist warns: {', '.join(words)}.")
    return found
