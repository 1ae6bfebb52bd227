"""The protocols on a model and a manifest: each turns cases into scores; none computes a metric.

Shapes: N cases to score, C classes, S draws of few-shot cases, D embedding.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from dermis.evaluation.concept_annotation import concept_scores, concept_truth, concept_vectors
from dermis.evaluation.few_shot import PANDERM_SEEDS, few_shot_scores
from dermis.evaluation.knn import knn_scores
from dermis.evaluation.linear_probe import linear_probe
from dermis.evaluation.prompt_classification import (
    PUBLISHED_SCALE,
    prompt_scores,
    protocol_name,
    seen_in_training,
    text_classifier,
)
from dermis.evaluation.retrieval import Retrieved, image_to_text, text_to_image
from dermis.evaluation.setting import Cases, Setting
from dermis.language.concept_terms import terms_of
from dermis.language.prompts import class_prompts, references


@dataclass(frozen=True)
class Scored:
    """A classification protocol's probabilities (N, C), or (S, N, C) over draws, with what to say about them."""

    protocol: str
    about: str
    scores: np.ndarray
    class_notes: dict[str, str] = field(default_factory=dict)
    as_panderm: bool = False
    """with the other metrics of PanDerm's tables"""


def classify(protocol: str, setting: Setting) -> Iterator[Scored]:
    """The classification protocols of one name in the recipe (``few_shot`` and ``panderm`` give several)."""
    if len(setting.classes) < 2:
        raise ValueError(f"protocol {protocol!r} needs at least two classes; there are {setting.classes}.")
    by_name = {"prompts": _prompts, "make": _make, "knn": _knn, "linear_probe": _linear_probe}
    by_name |= {"panderm": _panderm, "few_shot": _few_shot}
    yield from by_name[protocol](setting)


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
    if cases.projected is None:
        raise ValueError("prompts, concepts and retrieval need a model with a text tower; this one has pictures only.")
    return cases.projected


def _seen_forms(names: dict[str, list[str]], texts: Iterable[str]) -> dict[str, int]:
    return seen_in_training([form for forms in names.values() for form in forms], texts)


@dataclass(frozen=True)
class _Learning:
    """Features and labels to learn from, and features to score."""

    train: Cases
    train_features: np.ndarray
    query_features: np.ndarray
    classes: int
    space: str


def _learning(setting: Setting) -> _Learning:
    train, query = setting.cases("train").diagnosed(), setting.cases(setting.config.split).diagnosed()
    stage = setting.config.probe_features
    space = f"On {stage} features of {len(train.label)} training cases"
    return _Learning(train, train.features(stage), query.features(stage), len(setting.classes), space)


def _knn(setting: Setting) -> Iterator[Scored]:
    given, k = _learning(setting), setting.config.neighbours
    scores = knn_scores(given.train_features, given.train.label, given.query_features, given.classes, k=k)
    yield Scored("kNN", f"{given.space}: k = {k}, cosine, temperature 0.07.", scores)


def _linear_probe(setting: Setting) -> Iterator[Scored]:
    given, stage = _learning(setting), setting.config.probe_features
    valid, chosen_on = None, "5 folds of the training patients"
    if (held_out := setting.held_out()) is not None and (held_out.label >= 0).any():
        held_out, chosen_on = held_out.diagnosed(), "the valid split"
        valid = held_out.features(stage), held_out.label
    groups_M = given.train.manifest.groups().to_numpy(dtype=object)
    probe = linear_probe(
        given.train_features,
        given.train.label,
        given.classes,
        valid=valid,
        groups_M=groups_M,
        seed=setting.config.seed,
    )
    about = f"{given.space}, standardised; C = {probe.c:g} by the log loss on {chosen_on}."
    yield Scored("linear probe", about, probe.scores(given.query_features))


def _panderm(setting: Setting) -> Iterator[Scored]:
    given = _learning(setting)
    about = f"{given.space}, as they come; C = D · classes / 100; a fraction's cases are drawn with seed 42."
    for fraction in setting.config.fractions:
        scores = few_shot_scores(
            given.train_features,
            given.train.label,
            given.query_features,
            given.classes,
            fraction=fraction,
            seeds=PANDERM_SEEDS,
            solver="panderm",
        )
        name = f"linear probe, PanDerm solver, {fraction:.0%} of training"
        yield Scored(name, about, scores[0], as_panderm=True)


def _few_shot(setting: Setting) -> Iterator[Scored]:
    given = _learning(setting)
    seeds = [setting.config.seed + s for s in range(setting.config.shot_seeds)]
    about = f"{given.space}: mean over {len(seeds)} draws of k cases per class; intervals cover draws and patients."
    for shots in setting.config.shots:
        scores = few_shot_scores(
            given.train_features, given.train.label, given.query_features, given.classes, shots=shots, seeds=seeds
        )
        yield Scored(f"few-shot, {shots} per class", about, scores)


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
