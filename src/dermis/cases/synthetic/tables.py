"""A case as a row of the manifest."""

import math

from dermis.cases.seven_point import class_of
from dermis.cases.synthetic.consultation import complaint, dialogue
from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.latent import Case
from dermis.cases.synthetic.texts import caption, concept_text, disease_text, sentences

TEXTS = {
    "caption": (caption, 0.03),
    "disease_text": (disease_text, 0.05),
    "concept_text": (concept_text, 0.05),
    "sentences": (sentences, 0.03),
    "dialogue": (dialogue, 0.08),
    "complaint": (complaint, 0.05),
}
"""text column -> how it is written, and how often it is missing"""

MISSING_LESION, MISSING_PATIENT = 0.08, 0.05
"""share of missing values in the ``lesion.`` and the ``patient.`` columns"""

_MISSING_STREAM = 4


def row(case: Case, licence: str, source: str, split: str) -> dict[str, object]:
    """All columns of the manifest for one case; null where nothing is known."""
    lesion = case.lesion
    holes = Draws(case.seed, case.patient.index, _MISSING_STREAM, case.number)
    texts = {kind: None if holes.chance(missing) else write(case) for kind, (write, missing) in TEXTS.items()}
    table = {k: None if holes.chance(MISSING_LESION) else v for k, v in lesion_table(case).items()}
    # What is not known about a person is not known at any of the lesions.
    gaps = Draws(case.seed, case.patient.index, _MISSING_STREAM)
    table |= {k: None if gaps.chance(MISSING_PATIENT) else v for k, v in patient_table(case).items()}
    return {
        "case_id": case.case_id,
        "patient_id": f"s{case.seed}-p{case.patient.index:06d}",
        "lesion_id": case.case_id,
        "image": f"images/{case.case_id}.jpg",
        "dermoscopy": f"images/{case.case_id}-dermoscopy.jpg",
        "mask": f"images/{case.case_id}-mask.png",
        "modality": "clinical",
        "diagnosis": lesion.disease,
        **{f"finding.{name}": class_of(name, kind) for name, kind in lesion.findings.items()},
        **{f"concept.{name}": float(holds) for name, holds in lesion.concepts.items()},
        "concept.asymmetry": lesion.asymmetry,
        "concept.border_irregularity": lesion.border_irregularity,
        "concept.colour_variegation": lesion.colour_variegation,
        **table,
        "skin_tone": case.patient.phototype,
        **texts,
        **{f"{kind}_origin": None if text is None else "narrated" for kind, text in texts.items()},
        "split": split,
        "source": source,
        "licence": licence,
    }


def lesion_table(case: Case) -> dict[str, object]:
    """``lesion.`` columns: site, measured diameter (mm, 8 % off), elevation, duration (months), yes/no history."""
    lesion = case.lesion
    ruler = Draws(case.seed, case.patient.index, _MISSING_STREAM, case.number, 1)
    return {
        "lesion.localization": lesion.site,
        "lesion.diameter_mm": round(lesion.diameter_mm * math.exp(ruler.normal(0, 0.08)), 1),
        "lesion.elevation": lesion.elevation,
        "lesion.duration_months": float(lesion.months),
        **{f"lesion.{item}": str(holds) for item, holds in lesion.history.items()},
    }


def patient_table(case: Case) -> dict[str, object]:
    """``patient.`` columns: age, sex, Fitzpatrick type, number of moles, risk factors."""
    patient = case.patient
    count = Draws(case.seed, case.patient.index, _MISSING_STREAM, 99)
    return {
        "patient.age": float(patient.age),
        "patient.sex": patient.sex,
        "patient.fitzpatrick": patient.phototype,
        "patient.nevus_count": float(round(math.exp(count.normal(1.2 + 3.4 * patient.nevus_proneness, 0.35)))),
        "patient.sunburns": str(patient.sunburns),
        "patient.skin_cancer_history": str(patient.skin_cancer_history),
        "patient.family_history": str(patient.family_history),
    }
