"""Captions, knowledge texts and sentences of a case; nothing is said that the latent does not hold."""

from dermis.cases.seven_point import seven_point_score
from dermis.cases.synthetic.diseases import DISEASES
from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.latent import Case
from dermis.cases.synthetic.ontology import BRANCHES
from dermis.cases.synthetic.wordings import (
    SITES,
    concept_phrases,
    finding_phrases,
    listed,
    main_colours,
    shape_phrases,
    side,
)

TEXT_STREAM = 3
NAMED = 0.8
"""share of captions that name the disease, half of them by a synonym"""

_PERSON = {"female": ("woman", "female patient"), "male": ("man", "male patient")}


def text_draws(case: Case, kind: int) -> Draws:
    """The stream of wordings for one kind of text of a case."""
    return Draws(case.seed, case.patient.index, TEXT_STREAM, case.number, kind)


def caption(case: Case) -> str:
    """Two or three sentences as an archive would have them; parts are left out at random."""
    draws, lesion = text_draws(case, 0), case.lesion
    looks = f"{listed(main_colours(lesion))}, {lesion.elevation}"
    noun = draws.one_of(("lesion", "skin lesion", "spot"))
    what = f"{looks} {noun}" if draws.chance(0.8) else noun
    where = f" on the {site_word(case)}" if draws.chance(0.8) else ""
    who = f" of a {_person(case, draws)}" if draws.chance(0.7) else ""
    size = f", {lesion.diameter_mm:g} mm across" if draws.chance(0.4) else ""
    opening = draws.one_of(("A {}.", "Photograph of a {}.", "Clinical picture: {}.", "A patient presents with a {}."))
    sentences = [opening.format(what + where + who + size)]
    if draws.chance(NAMED):
        name = lesion.disease if draws.chance(0.5) else draws.one_of(DISEASES[lesion.disease].synonyms)
        wording = draws.one_of(("Diagnosis: {}.", "The diagnosis is {}.", "Findings are those of {}.", "This is {}."))
        sentences.insert(draws.below(2), wording.format(name))
    seen = [f"{phrase} {where}".strip() for phrase, where in finding_phrases(case, draws.below(2))]
    seen += concept_phrases(lesion, draws.below(2))
    seen = [phrase for phrase in seen if draws.chance(0.7)]
    if seen and draws.chance(0.75):
        wording = draws.one_of(("Dermoscopy shows {}.", "Seen on dermoscopy: {}.", "Structures: {}."))
        sentences.append(wording.format(listed(seen)))
    return " ".join(sentences)


def disease_text(case: Case) -> str:
    """What a textbook says about the disease: name, branch, nature, synonyms."""
    draws, name = text_draws(case, 1), case.lesion.disease
    disease = DISEASES[name]
    nature = "malignant" if disease.malignant else "benign"
    if name == "actinic keratosis":
        nature = "precancerous"
    other = draws.one_of(disease.synonyms)
    wording = draws.one_of(
        (
            "{Name} is a {nature} {branch}, also called {other}. {knowledge}.",
            "{Name} ({other}) belongs to the {branch}s. {knowledge}.",
            "Skin lesion, {branch}, {name}. {knowledge}.",
        )
    )
    branch = BRANCHES[disease.branch]
    return wording.format(
        name=name, Name=_capital(name), branch=branch, nature=nature, other=other, knowledge=disease.knowledge
    )


def concept_text(case: Case) -> str:
    """The visual concepts that hold, as a list: shape, colour, dermoscopic structures, surface."""
    draws = text_draws(case, 2)
    phrases = [f"{colour} colour" for colour in main_colours(case.lesion)] + shape_phrases(case.lesion)
    phrases.append(f"{case.lesion.elevation} lesion")
    phrases += [phrase for phrase, _ in finding_phrases(case, draws.below(2))]
    phrases += concept_phrases(case.lesion, draws.below(2))
    return draws.one_of(("Visual concepts: {}.", "This lesion shows {}.", "Features: {}.")).format(", ".join(phrases))


def sentences(case: Case) -> list[str]:
    """Sub-texts, each about one thing; those about a structure say where it lies in which picture."""
    draws, lesion = text_draws(case, 3), case.lesion
    parts = [f"A {listed(main_colours(lesion))} lesion of {lesion.diameter_mm:g} mm on the {site_word(case)}."]
    parts += [f"It has {_article(phrase)}." for phrase in shape_phrases(lesion)]
    parts.append(f"The lesion is {lesion.elevation}.")
    if lesion.colour_variegation >= 0.55 and lesion.melanin >= 0.5:
        parts.append(f"In the photograph the darkest part lies {side(lesion.places['dark_focus'], case.clinical)}.")
    if lesion.concepts["ulceration"]:
        parts.append(f"In the photograph an ulcer lies {side(lesion.places['ulceration'], case.clinical)}.")
    opening = draws.one_of(("Dermoscopy shows {}.", "On dermoscopy there is {}.", "Dermoscopic finding: {}."))
    for phrase, where in finding_phrases(case, draws.below(2)):
        parts.append(opening.format(f"{phrase} {where}".strip()))
    parts += [opening.format(phrase) for phrase in concept_phrases(lesion, draws.below(2)) if "ulcer" not in phrase]
    if draws.chance(0.3):
        parts.append(f"The seven-point score is {seven_point_score(lesion.findings)}.")
    kept = [part for part in parts if draws.chance(0.85)]
    return kept or parts[:1]


def site_word(case: Case) -> str:
    """One word for the site, the same in all texts of the case."""
    words = SITES[case.lesion.site]
    return words[case.lesion.texture % len(words)]


def _person(case: Case, draws: Draws) -> str:
    return f"{case.patient.age}-year-old {draws.one_of(_PERSON[case.patient.sex])}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
