"""The protocols on a model and a manifest: each turns cases into scores; none computes a metric.

Shapes: N cases to score, C classes, D embedding.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dermis.evaluation.concept_annotation import concept_scores, concept_truth, concept_vectors
from dermis.evaluation.config import LEARNING
from dermis.evaluation.learning import learn
from dermis.evaluation.prompt_classification import (
    PUBLISHED_SCALE,
    prompt_scores,
    protocol_name,
    seen_in_training,
    text_classifier,
)
from dermis.evaluation.retrieval import Retrieved, image_to_text, text_to_image
from dermis.evaluation.scored import Scored
from dermis.evaluation.setting import Cases, Setting
from dermis.language.concept_terms import terms_of
from dermis.language.prompts import class_prompts, references


def classify(protocol: str, setting: Setting) -> Iterator[Scored]:
    """The classification protocols of one name in the recipe (several fractions, shots or inputs give several)."""
    if len(setting.classes) < 2:
        raise ValueError(f"protocol {protocol!r} needs at least two classes; there are {setting.classes}.")
    if protocol in LEARNING:
        yield from learn(protocol, setting)
    else:
        yield from {"prompts": _prompts, "make": _make}[protocol](setting)


def _prompts(setting: Setting) -> Iterator[Scored]:
    config = setting.config
    scale = _scale(setting)
    names = config.prompt_names or {}
    yield _by_prompts(setting, names, config.templates, scale, "", "")
    if config.synonyms is not None:
        seen = None if setting.training_texts is None else _seen_forms(config.synonyms, setting.training_texts)
        kind = "unseen synonyms" if seen is not None and not any(seen.values()) else "synonyms"
        about = "Prompts use other names: " + "; ".join(f"{c}: {', '.join(n)}" for c, n in config.synonyms.items())
        yield _by_prompts(setting, names | config.synonyms, config.templates, scale, f", {kind}", about + ".")


def _make(setting: Setting) -> Iterator[Scored]:
    names = setting.config.prompt_names or {}
    yield _by_prompts(setting, names, "make8", PUBLISHED_SCALE, ", as in MAKE", "")


def _by_prompts(
    setting: Setting, names: dict[str, list[str]], templates: list[str] | str, scale: float, suffix: str, about: str
) -> Scored:
    prompts = class_prompts(setting.classes, templates, names)
    class_CD = text_classifier(lambda texts: _encoded(setting.model, texts), prompts)
    scores = prompt_scores(_shared_space(setting.cases(setting.config.split).diagnosed()), class_CD, scale)
    forms = {c: names.get(c, [c]) for c in setting.classes}
    seen = None if setting.training_texts is None else seen_in_training(forms, setting.training_texts)
    if seen is None:
        known = "Whether the training texts name the classes is not known, so this is not called zero-shot."
        notes = {}
    else:
        known = f"{sum(map(bool, seen.values()))} of {len(seen)} classes are named in the training texts."
        notes = {c: "not in the training texts: zero-shot" for c, count in seen.items() if not count}
    how = f"Templates {templates if isinstance(templates, str) else len(templates)}, logit scale {scale:.1f}."
    return Scored(protocol_name(seen) + suffix, " ".join(p for p in (how, known, about) if p), scores, notes)


def _scale(setting: Setting) -> float:
    fixed = setting.config.scale
    return fixed if fixed is not None else math.exp(setting.model.logit_scale.item())


def _shared_space(cases: Cases) -> np.ndarray:
    assert cases.projected is not None  # ``needs.refuse_without_texts``
    return cases.projected


def _seen_forms(names: dict[str, list[str]], texts: Iterable[str]) -> dict[str, int]:
    return seen_in_training([form for forms in names.values() for form in forms], texts)


@dataclass(frozen=True)
class Annotated:
    """Concept scores (N, C) of cases that have at least one concept annotated, and the truth beside them."""

    cases: Cases
    scores: np.ndarray
    truth: pd.DataFrame
    about: str


def annotate(setting: Setting) -> Annotated:
    """Concept annotation of the split; ValueError for a concept without terms or a name that no column has."""
    config = setting.config
    truth_NC = concept_truth(setting.manifest, config.concepts)
    terms = terms_of(truth_NC, config.concept_terms)
    references(config.concept_templates)  # a wrong name stops here, before the pictures
    truth_NC.index = pd.Index(setting.manifest.table["case_id"])
    cases = setting.cases(config.split)
    truth_NC = truth_NC.loc[cases.manifest.table["case_id"]].reset_index(drop=True)
    rows = np.flatnonzero(truth_NC.notna().any(axis=1))
    if not len(rows):
        raise ValueError(f"no case of split {config.split!r} has a concept annotated.")
    cases, truth_NC = cases.select(rows), truth_NC.iloc[rows].reset_index(drop=True)
    scale = _scale(setting)
    vectors = concept_vectors(lambda texts: _encoded(setting.model, texts), terms, config.concept_templates)
    whose = "our terms" if config.concept_terms is None else f"the terms of {config.concept_terms.name}"
    about = f"{truth_NC.shape[1]} concepts by {whose}, templates {config.concept_templates}, logit scale {scale:.1f}."
    return Annotated(cases, concept_scores(_shared_space(cases), *vectors, scale), truth_NC, about)


def retrieve_both(setting: Setting) -> tuple[Cases, dict[str, Retrieved]]:
    """Picture → text and text → picture among the split's cases that have the text column."""
    config = setting.config
    setting.manifest.require([config.text], "retrieval")
    cases = setting.cases(config.split)
    rows = np.flatnonzero(cases.manifest.table[config.text].notna())
    if len(rows) < 2:
        raise ValueError(f"retrieval needs at least two cases with {config.text!r} in split {config.split!r}.")
    cases = cases.select(rows)
    texts, text_of_N = np.unique(cases.manifest.table[config.text].to_numpy(dtype=object), return_inverse=True)
    text_SD = _encoded(setting.model, texts.tolist())
    ks = tuple(k for k in config.recall_at if k <= len(rows))
    found = {
        name: ask(_shared_space(cases), text_SD, text_of_N, ks, diagonal=config.diagonal)
        for name, ask in (("image-to-text retrieval", image_to_text), ("text-to-image retrieval", text_to_image))
    }
    return cases, found


def _encoded(model: Any, texts: list[str]) -> np.ndarray:
    from dermis.model.use import encode_texts  # torch, which this room's import leaves out

    return encode_texts(model, texts)
