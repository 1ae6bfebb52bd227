"""The protocols that learn the diagnosis from the training split, on what they are given to see (``inputs``).

Shapes: N cases to score, M training cases, F features, C classes, S draws of training cases.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dermis.evaluation.config import INPUTS
from dermis.evaluation.few_shot import PANDERM_SEEDS, draw, few_shot_scores
from dermis.evaluation.knn import knn_scores, side_by_side
from dermis.evaluation.linear_probe import linear_probe
from dermis.evaluation.scored import Scored
from dermis.evaluation.setting import Setting

FEWEST = 5
"""cases of the rarest class in a draw of `low_shot`: with fewer, a share of the cases is a handful of pictures"""


def learn(protocol: str, setting: Setting) -> Iterator[Scored]:
    """The learning protocols of one name in the recipe, for each input in turn."""
    for kind in setting.config.inputs:
        suffix = f", {INPUTS[kind]}" if INPUTS[kind] else ""
        for scored in BY_NAME[protocol](setting, _given(setting, kind)):
            yield replace(scored, protocol=scored.protocol + suffix)


@dataclass(frozen=True)
class _Given:
    """Blocks of features (picture, table) and labels to learn from, and blocks to score."""

    kind: str
    train_blocks: list[np.ndarray]
    label: np.ndarray
    query_blocks: list[np.ndarray]
    space: str

    @cached_property
    def train(self) -> np.ndarray:
        return np.concatenate(self.train_blocks, axis=1)

    @cached_property
    def query(self) -> np.ndarray:
        return np.concatenate(self.query_blocks, axis=1)


def _given(setting: Setting, kind: str) -> _Given:
    (train_blocks, label_M), (query_blocks, _) = (_seen(setting, kind, s) for s in ("train", setting.config.split))
    space = f"On {setting.inputs.about(kind)} of {len(label_M)} training cases"
    return _Given(kind, train_blocks, label_M, query_blocks, space)


def _seen(setting: Setting, kind: str, split: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Blocks and labels of the split's cases that have a label."""
    cases = setting.cases(split)
    rows = cases.with_label()
    return [block[rows] for block in setting.inputs.blocks(kind, split)], cases.label[rows]


def _knn(setting: Setting, given: _Given) -> Iterator[Scored]:
    k, how = setting.config.neighbours, ""
    train, query = given.train, given.query
    if given.kind != "image":
        train, query = side_by_side(given.train_blocks, given.query_blocks)
        how = " Each part is centred on the training cases and of unit length, so that all parts count alike."
    scores = knn_scores(train, given.label, query, len(setting.classes), k=k)
    yield Scored("kNN", f"{given.space}: k = {k}, cosine, temperature 0.07.{how}", scores)


def _linear_probe(setting: Setting, given: _Given) -> Iterator[Scored]:
    valid, chosen_on = None, "5 folds of the training patients"
    if (held_out := setting.held_out()) is not None and (held_out.label >= 0).any():
        blocks, label = _seen(setting, given.kind, "valid")
        valid, chosen_on = (np.concatenate(blocks, axis=1), label), "the valid split"
    groups_M = setting.cases("train").diagnosed().manifest.groups().to_numpy(dtype=object)
    probe = linear_probe(
        given.train, given.label, len(setting.classes), valid=valid, groups_M=groups_M, seed=setting.config.seed
    )
    about = f"{given.space}, standardised; C = {probe.c:g} by the log loss on {chosen_on}."
    yield Scored("linear probe", about, probe.scores(given.query))


def _panderm(setting: Setting, given: _Given) -> Iterator[Scored]:
    about = f"{given.space}, as they come; C = D · classes / 100; a fraction's cases are drawn with seed 42."
    for fraction in setting.config.fractions:
        scores = few_shot_scores(
            given.train,
            given.label,
            given.query,
            len(setting.classes),
            fraction=fraction,
            seeds=PANDERM_SEEDS,
            solver="panderm",
        )
        name = f"linear probe, PanDerm solver, {_share(fraction)} of training"
        yield Scored(name, about, scores[0], as_panderm=True)


def _few_shot(setting: Setting, given: _Given) -> Iterator[Scored]:
    seeds = _seeds(setting)
    about = f"{given.space}: mean over {len(seeds)} draws of k cases per class; intervals cover draws and patients."
    cases_C = np.bincount(given.label, minlength=len(setting.classes))
    for shots in setting.config.shots:
        name, note = f"few-shot, {shots} per class", ""
        if (short := cases_C < shots).any():
            few = ", ".join(f"{c} ({n})" for c, n in zip(setting.classes, cases_C, strict=True) if n < shots)
            note = f"{int(short.sum())} classes have fewer than {shots} training cases: {few}"
            setting.notes.append(f"{name}: {note}.")
        scores = few_shot_scores(given.train, given.label, given.query, len(setting.classes), shots=shots, seeds=seeds)
        yield Scored(name, f"{about} {note}." if note else about, scores, notes=note)


def _low_shot(setting: Setting, given: _Given) -> Iterator[Scored]:
    seeds, kept, left_out = _seeds(setting), dict[float, int](), list[str]()
    for fraction in setting.config.low_shot_fractions:
        drawn_C = np.bincount(given.label[draw(given.label, fraction=fraction, seed=seeds[0])])
        # a class that no training case has is in no draw, however large
        rarest = np.where(drawn_C > 0, drawn_C, drawn_C.max()).argmin()
        kept[fraction] = int(drawn_C.sum())
        if drawn_C[rarest] < FEWEST:
            del kept[fraction]
            left_out.append(f"{_share(fraction)} is left out ({setting.classes[rarest]}: {drawn_C[rarest]})")
    about = f"{given.space}: mean over {len(seeds)} draws of a share of each class; intervals cover draws and patients."
    if left_out:
        said = f"A share with fewer than {FEWEST} cases of a class says little; {'; '.join(left_out)}."
        setting.notes.append(f"low-shot: {said}")
        about = f"{about} {said}"
    for fraction, cases in kept.items():
        scores = few_shot_scores(
            given.train, given.label, given.query, len(setting.classes), fraction=fraction, seeds=seeds
        )
        yield Scored(f"low-shot, {_share(fraction)} of training", about, scores, notes=f"{cases} training cases a draw")


def _share(fraction: float) -> str:
    return f"{100 * fraction:.4g}%"


def _seeds(setting: Setting) -> list[int]:
    return [setting.config.seed + s for s in range(setting.config.shot_seeds)]


BY_NAME: dict[str, Callable[[Setting, _Given], Iterator[Scored]]] = {
    "knn": _knn,
    "linear_probe": _linear_probe,
    "panderm": _panderm,
    "few_shot": _few_shot,
    "low_shot": _low_shot,
}
