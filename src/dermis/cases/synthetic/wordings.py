"""The words for what a lesion shows. Each phrase is true of exactly the latent it stands beside."""

from math import atan2, cos, hypot, pi, sin

from dermis.cases.synthetic.latent import Case, Lesion, Place
from dermis.cases.synthetic.shot import Shot
from dermis.cases.synthetic.view import View

SITES = {
    "head neck": ("face", "neck", "scalp"),
    "chest": ("chest",),
    "back": ("back",),
    "abdomen": ("abdomen", "belly"),
    "upper limbs": ("arm", "forearm", "shoulder"),
    "lower limbs": ("leg", "thigh", "calf"),
    "acral": ("sole", "palm"),
}

FINDINGS: dict[tuple[str, str], tuple[str, ...]] = {
    ("pigment_network", "typical"): ("typical pigment network", "regular pigment network"),
    ("pigment_network", "atypical"): ("atypical pigment network", "broken pigment network"),
    ("blue_whitish_veil", "present"): ("blue-whitish veil", "blue-white veil"),
    ("vascular_structures", "arborizing"): ("arborizing vessels", "tree-like branching vessels"),
    ("vascular_structures", "comma"): ("comma vessels",),
    ("vascular_structures", "hairpin"): ("hairpin vessels", "looped vessels"),
    ("vascular_structures", "within regression"): ("vessels within regression",),
    ("vascular_structures", "wreath"): ("a wreath of vessels",),
    ("vascular_structures", "dotted"): ("dotted vessels",),
    ("vascular_structures", "linear irregular"): ("linear irregular vessels",),
    ("pigmentation", "diffuse regular"): ("diffuse regular pigmentation",),
    ("pigmentation", "localized regular"): ("localized regular pigmentation",),
    ("pigmentation", "diffuse irregular"): ("diffuse irregular pigmentation", "widespread irregular blotches"),
    ("pigmentation", "localized irregular"): ("localized irregular pigmentation", "an irregular blotch"),
    ("streaks", "regular"): ("regular streaks", "a starburst of streaks"),
    ("streaks", "irregular"): ("irregular streaks", "uneven radial streaks"),
    ("dots_and_globules", "regular"): ("regular dots and globules", "evenly spread globules"),
    ("dots_and_globules", "irregular"): ("irregular dots and globules", "globules of uneven size"),
    ("regression_structures", "blue areas"): ("blue-grey regression", "blue-grey peppering"),
    ("regression_structures", "white areas"): ("white scar-like regression",),
    ("regression_structures", "combinations"): ("white and blue regression structures",),
}

CONCEPTS: dict[str, tuple[str, ...]] = {
    "milia_like_cysts": ("milia-like cysts",),
    "comedo_like_openings": ("comedo-like openings",),
    "leaf_like_areas": ("leaf-like areas",),
    "ulceration": ("ulceration", "an ulcer"),
    "scale": ("scale", "scaling"),
    "red_lacunae": ("red lacunae", "red lagoons"),
    "central_white_patch": ("central white patch",),
    "homogeneous_blue": ("homogeneous blue pigmentation",),
}

ONE_SIDED = (
    *(("pigment_network", "atypical"), ("blue_whitish_veil", "present"), ("pigmentation", "diffuse irregular")),
    *(("pigmentation", "localized irregular"), ("streaks", "irregular"), ("dots_and_globules", "irregular")),
    *(("regression_structures", kind) for kind in ("blue areas", "white areas", "combinations")),
    *(("vascular_structures", kind) for kind in ("arborizing", "comma", "hairpin", "dotted", "linear irregular")),
)
"""findings that have a side; the others are all over the lesion, in its middle or around it"""

_SIDES = (
    *("on the right", "at the lower right", "at the bottom", "at the lower left"),
    *("on the left", "at the upper left", "at the top", "at the upper right"),
)


def direction(place: Place, shot: Shot) -> tuple[float, float]:
    """Where a place lies in a picture, from the lesion's centre: angle (0 right, pi/2 down) and distance in radii."""
    view = View.of(shot, 2.0, 1)
    point = (place.distance * cos(place.angle), place.distance * sin(place.angle))
    x, y = (view.pixels([point])[0] - view.pixels([(0.0, 0.0)])[0]) / view.scale
    return atan2(y, x), hypot(x, y)


def side(place: Place, shot: Shot) -> str:
    """The same in words: "at the upper left", "in the centre"."""
    angle, distance = direction(place, shot)
    return "in the centre" if distance < 0.2 else _SIDES[round(angle / (pi / 4)) % 8]


def main_colours(lesion: Lesion) -> list[str]:
    """What colours the body of the lesion has, strongest first."""
    colours = []
    if lesion.deep > 0.6:
        colours.append("blue-grey")
    elif lesion.melanin >= 0.25:
        steps = (("light brown", 0.65), ("brown", 1.05), ("dark brown", 1.7), ("black", float("inf")))
        colours.append(next(name for name, limit in steps if lesion.melanin < limit))
    if lesion.blood >= 0.3 and lesion.melanin < 1.0:
        colours.append("red" if lesion.blood > 0.8 else "pink")
    return colours or ["skin-coloured"]


def shape_phrases(lesion: Lesion) -> list[str]:
    """Symmetry, border and colour, as far as they are clear-cut."""
    phrases = []
    if lesion.asymmetry >= 0.5 or lesion.asymmetry <= 0.2:
        phrases.append("asymmetric shape" if lesion.asymmetry >= 0.5 else "symmetric shape")
    if lesion.border_irregularity >= 0.45 or lesion.border_irregularity <= 0.2:
        phrases.append("irregular border" if lesion.border_irregularity >= 0.45 else "regular border")
    if lesion.softness <= 0.1 or lesion.softness >= 0.3:
        phrases.append("sharply demarcated border" if lesion.softness <= 0.1 else "ill-defined border")
    if lesion.colour_variegation >= 0.5:
        phrases.append("variegated colour")
    return phrases


def finding_phrases(case: Case, choose: int) -> list[tuple[str, str]]:
    """(phrase, where) of the structures found; ``choose`` picks among wordings, ``where`` may be empty."""
    phrases = []
    for key, wordings in FINDINGS.items():
        criterion, kind = key
        if case.lesion.findings[criterion] == kind:
            where = side(case.lesion.places[criterion], case.dermoscopic) if key in ONE_SIDED else ""
            phrases.append((wordings[choose % len(wordings)], where))
    return phrases


def concept_phrases(lesion: Lesion, choose: int) -> list[str]:
    return [words[choose % len(words)] for concept, words in CONCEPTS.items() if lesion.concepts[concept]]


def listed(phrases: list[str]) -> str:
    """ "a", "a and b", "a, b and c" """
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]]) if len(phrases) > 1 else "".join(phrases)
