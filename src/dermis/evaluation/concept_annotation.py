"""Concept annotation: how much more a picture resembles sentences with a concept than the same sentences without it
(MONET, Kim et al. 2024 @ 3ae0a64; MAKE @ ded1959, concept_annotation/model.py).

For each template t, with a_t the mean cosine of the picture with the template filled with each term of the concept and
r_t its cosine with the reference sentence,

    score = mean_t softmax(scale · [a_t, r_t])[0] = mean_t sigmoid(scale · (a_t − r_t)).

The release fixes scale = exp(4.5944) = 98.9; our default is the model's learned one (a mean of sigmoids ranks pictures
differently at different scales). The release pairs columns with concepts by position; here they are matched by name.

Shapes: N pictures, C concepts, T templates, D embedding, R weight vectors (bootstrap draws).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from dermis.cases.manifest import Manifest
from dermis.cases.seven_point import ABSENT
from dermis.evaluation.metrics import macro_mean
from dermis.evaluation.prompt_classification import unit_length
from dermis.evaluation.ranking import auroc
from dermis.language.concept_terms import plain
from dermis.language.prompts import references, templates
from dermis.registry import unknown

PRESENT_ABOVE = 0.5
"""a concept column's score above this is a presence"""


def concept_vectors(
    embed: Callable[[list[str]], np.ndarray], terms: Mapping[str, Sequence[str]], template_set: str
) -> tuple[np.ndarray, np.ndarray]:
    """Targets (C, T, D), the mean of the unit-length embeddings over a concept's terms, and references (T, D).

    A target is not scaled to unit length again, so that its product with a picture is the mean cosine.
    """
    sentences, bare = templates(template_set), references(template_set)
    filled = [t.replace("{}", term) for own in terms.values() for t in sentences for term in own]
    target_MD = unit_length(np.asarray(embed(filled)))
    ends = np.cumsum([len(own) for own in terms.values() for _ in sentences])[:-1]
    target_XD = np.stack([own.mean(axis=0) for own in np.split(target_MD, ends)])
    return target_XD.reshape(len(terms), len(sentences), -1), unit_length(np.asarray(embed(bare)))


def concept_scores(image_ND: np.ndarray, target_CTD: np.ndarray, reference_TD: np.ndarray, scale: float) -> np.ndarray:
    """Presence scores (N, C) float64 between 0 and 1; pictures are scaled to unit length here."""
    if not scale > 0:
        raise ValueError(f"scale must be positive; it is {scale}.")
    image_ND = unit_length(image_ND).astype(np.float64)
    reference_NT = image_ND @ reference_TD.T
    scores = [1 / (1 + np.exp(-scale * (image_ND @ own_TD.T - reference_NT))) for own_TD in target_CTD]
    return np.stack([score_NT.mean(axis=1) for score_NT in scores], axis=1)


def concept_truth(manifest: Manifest, wanted: Iterable[str] | None = None) -> pd.DataFrame:
    """Which concepts each case has: a column per concept with 1, 0 or NaN (not annotated), (N, C).

    From the columns ``concept.NAME`` (present above 0.5) and those ``finding.NAME`` that have the class "absent"
    (present: any other class; the seven-point checklist). ``wanted``: their names, in that order; default: all. Raises
    ValueError for a name that no column has, and where there are no such columns.
    """
    table = manifest.table
    found: dict[str, pd.Series] = {}
    for column in (c for c in table if c.startswith("concept.") and c in manifest):
        found[column.removeprefix("concept.")] = (table[column] > PRESENT_ABOVE).where(table[column].notna())
    for column in (c for c in table if c.startswith("finding.") and (table[c] == ABSENT).any()):
        name = column.removeprefix("finding.")
        if any(plain(name) == plain(other) for other in found):
            raise ValueError(f"the concept {name!r} has two columns, concept.{name} and {column}: keep one of them.")
        found[name] = (table[column] != ABSENT).where(table[column].notna())
    if not found:
        raise ValueError("concept annotation needs columns concept.NAME, or finding.NAME with the class 'absent'.")
    by_name = {plain(name): name for name in found}
    for name in wanted or ():
        if plain(name) not in by_name:
            raise unknown("concept of the manifest", name, found)
    names = list(found) if wanted is None else [by_name[plain(name)] for name in wanted]
    return pd.DataFrame({name: found[name].astype(float) for name in names})


def concept_metrics(score_NC: np.ndarray, truth_NC: pd.DataFrame, weight_RN: np.ndarray) -> dict[str, np.ndarray]:
    """The macro AUROC and "AUROC: NAME" of each concept, (R,) each; the mean leaves out NaN, a concept of one class."""
    areas = {}
    for c, name in enumerate(truth_NC):
        told = truth_NC[name].notna().to_numpy()
        present = truth_NC[name].to_numpy()[told] == 1
        areas[name] = auroc(score_NC[told, c], present, weight_RN[:, told])
    macro_R = macro_mean(np.stack(list(areas.values()), axis=1))
    return {"macro AUROC": macro_R} | {f"AUROC: {name}": area_R for name, area_R in areas.items()}


def single_class(truth_NC: pd.DataFrame) -> list[str]:
    """The concepts that all annotated cases have, or none of them: there is nothing to tell apart."""
    return [name for name in truth_NC if truth_NC[name].nunique() < 2]
