"""Several labels a case: who predicts them.

Shapes: N cases, C classes of a label, S draws or seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dermis.cases.manifest import Manifest
from dermis.cases.targets import UNKNOWN, labels_of, targets_of
from dermis.evaluation.fusion_second_stage import FirstStage, one_hot, second_stage
from dermis.evaluation.linear_probe import linear_probe
from dermis.evaluation.setting import Setting
from dermis.evaluation.target_classes import TARGETS


@dataclass(frozen=True)
class LabelPredictions:
    """``scores``: label column -> probabilities (S, N, C) of its ``classes`` for ``cases``, in their order."""

    protocol: str
    about: str
    cases: Manifest
    classes: dict[str, list[str]]
    scores: dict[str, np.ndarray]

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """Label column -> the truth (N,), -1 where it is not known."""
        label_NL = labels_of(self.cases, self.classes)
        return dict(zip(self.classes, label_NL.T, strict=True))

    def select(self, rows: np.ndarray) -> "LabelPredictions":
        """Those of the cases at these positions."""
        scores = {name: score_SNC[:, rows] for name, score_SNC in self.scores.items()}
        return replace(self, cases=self.cases.select(rows), scores=scores)


def own_predictions(setting: Setting, columns: Sequence[str] = (), split: str | None = None) -> LabelPredictions:
    """What the model itself says of the labels that it was taught, or of those of ``columns``, on the scored split.

    Raises ValueError for a model that was taught none.
    """
    if getattr(setting.model, "predicting", None) is None:
        what = "a protocol of the model's own labels (`labels`, `second_stage`)"
        raise ValueError(f"{what} needs a model that was taught labels; this one was not (try `finetune`).")
    classes = {k: v for k, v in setting.model.predicting.classes.items() if not columns or k in columns}
    query = setting.cases(split or setting.config.split)
    scores = {k: v[None] for k, v in predicted(setting.model, query.trunk).items() if k in classes}
    return LabelPredictions("own predictions of labels", "", query.manifest, classes, scores)


def derm7pt_predictions(setting: Setting) -> LabelPredictions:
    """The eight labels of Derm7pt: the model's own predictions if it was taught all, else a linear probe for each.

    A probe is ``linear_probe`` on the frozen features of all pictures of the case; C by the log loss on `valid`, else
    (no such case has the label, or `valid` is what is scored) by patients. Raises ValueError for a manifest without one
    of the eight columns, and for one with too few cases of it to learn from.
    """
    columns = [t.column for t in TARGETS]
    setting.manifest.require(columns, "protocol derm7pt")
    query = setting.cases(setting.config.split)
    if taught_derm7pt(setting.model):
        return replace(own_predictions(setting, columns), protocol="derm7pt, own predictions")
    classes = targets_of(setting.manifest, columns)
    train, held_out = setting.cases("train"), setting.held_out()
    label_ML = labels_of(train.manifest, classes)
    label_VL = None if held_out is None else labels_of(held_out.manifest, classes)
    groups_M = train.manifest.groups().to_numpy()
    scores, chosen = {}, dict[str, list[str]]()
    for i, (column, names) in enumerate(classes.items()):
        known_M, valid, how = label_ML[:, i] != UNKNOWN, None, "in folds of the training patients"
        if held_out is not None and label_VL is not None and (known_V := label_VL[:, i] != UNKNOWN).any():
            valid, how = (held_out.trunk[known_V], label_VL[known_V, i]), "on valid"
        learn = train.trunk[known_M], label_ML[known_M, i]
        try:
            probe = linear_probe(*learn, len(names), valid=valid, groups_M=groups_M[known_M], seed=setting.config.seed)
        except ValueError as error:
            raise ValueError(f"protocol derm7pt, {column}: {error}") from None
        chosen.setdefault(how, []).append(f"{column} {probe.c:g}")
        scores[column] = probe.scores(query.trunk)[None]
    by = "; ".join(f"{how}, {', '.join(values)}" for how, values in chosen.items())
    about = f"Logistic regression on frozen features for each label, C by the log loss: {by}."
    return LabelPredictions("derm7pt, linear probes", about, query.manifest, classes, scores)


def taught_derm7pt(model: Any) -> bool:
    """Was the model taught all eight labels of Derm7pt?"""
    taught = getattr(model, "predicting", None)
    return taught is not None and all(t.column in taught.classes for t in TARGETS)


def second_stage_predictions(setting: Setting) -> LabelPredictions:
    """The model's own predictions mixed with those of support vector machines that also see the table (FusionM4Net).

    The latter learn from one half of the patients of `valid`, whom the model was not taught, and the other half
    decides the model's share of the mixture. Raises ValueError for a model that was taught no labels, and where the
    manifest has no `valid` split or no metadata.
    """
    test, valid = own_predictions(setting), own_predictions(setting, split="valid")
    group_N = pd.factorize(valid.cases.groups())[0]
    order = np.random.default_rng(setting.config.seed).permutation(group_N.max() + 1)
    first_half_N = order[group_N] % 2 == 0

    def stage(found: LabelPredictions, rows: np.ndarray | slice = slice(None)) -> FirstStage:
        metadata_NM = one_hot(found.cases, setting.config.metadata or ())
        labels_NL = np.stack(list(found.labels.values()), axis=1)
        return FirstStage([p[0][rows] for p in found.scores.values()], metadata_NM[rows], labels_NL[rows])

    mixed = second_stage(stage(valid, first_half_N), stage(valid, ~first_half_N), stage(test))
    about = (
        "Support vector machines on the model's predictions and one-hot metadata, learnt from "
        f"{int(first_half_N.sum())} valid cases; the model's share of the result, {mixed.share:.2f}, searched on the "
        f"other {int((~first_half_N).sum())}."
    )
    scores = {name: p_NC[None] for name, p_NC in zip(test.classes, mixed.probabilities, strict=True)}
    return LabelPredictions("second stage with metadata", about, test.cases, test.classes, scores)


def predicted(model: Any, trunk_ND: np.ndarray) -> dict[str, np.ndarray]:
    """The model's own label probabilities (N, C) from features of cases, in evaluation mode."""
    import torch

    from dermis.model.look import evaluating

    with evaluating(model), torch.inference_mode():
        h_ND = torch.as_tensor(trunk_ND, device=next(model.parameters()).device)
        return {name: p_NC.double().cpu().numpy() for name, p_NC in model.predict(h_ND).items()}
