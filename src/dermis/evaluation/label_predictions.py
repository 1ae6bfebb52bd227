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


def own_predictions(setting: Setting, columns: Sequence[str] = (), split: str | None = None) -> LabelPredictions:
    """What the model itself says of the labels that it was taught, or of those of ``columns``, on the scored split.

    Raises ValueError for a model that was taught none.
    """
    if getattr(setting.model, "predicting", None) is None:
        raise ValueError("protocol 'labels' needs a model that was taught labels; this one was not (try `finetune`).")
    classes = {k: v for k, v in setting.model.predicting.classes.items() if not columns or k in columns}
    query = setting.cases(split or setting.config.split)
    scores = {k: v[None] for k, v in predicted(setting.model, query.trunk).items() if k in classes}
    return LabelPredictions("own predictions of labels", "", query.manifest, classes, scores)


def derm7pt_predictions(setting: Setting) -> LabelPredictions:
    """The eight labels of Derm7pt: the model's own predictions if it was taught all, else a linear probe for each.

    A probe is ``linear_probe`` on the frozen features of all pictures of the case; C by the log loss on `valid`, else
    by patients. Raises ValueError for a manifest without one of the eight columns.
    """
    columns = [t.column for t in TARGETS]
    setting.manifest.require(columns, "protocol derm7pt")
    query = setting.cases(setting.config.split)
    taught = getattr(setting.model, "predicting", None)
    if taught is not None and all(column in taught.classes for column in columns):
        return replace(own_predictions(setting, columns), protocol="derm7pt, own predictions")
    classes = targets_of(setting.manifest, columns)
    train = setting.cases("train")
    has_valid = bool((setting.manifest.table["split"] == "valid").any())
    scores, chosen = {}, []
    for column, names in classes.items():
        label_M = labels_of(train.manifest, {column: names})[:, 0]
        known = label_M != UNKNOWN
        valid = None
        if has_valid:
            other = setting.cases("valid")
            label_V = labels_of(other.manifest, {column: names})[:, 0]
            valid = (other.trunk[label_V != UNKNOWN], label_V[label_V != UNKNOWN])
        groups_M = train.manifest.groups().to_numpy()[known]
        probe = linear_probe(
            train.trunk[known], label_M[known], len(names), valid=valid, groups_M=groups_M, seed=setting.config.seed
        )
        chosen.append(f"{probe.c:g}")
        scores[column] = probe.scores(query.trunk)[None]
    how = "on valid" if has_valid else "in 5 folds of patients"
    about = f"Logistic regression on frozen features for each label, C chosen {how}: {', '.join(chosen)}."
    return LabelPredictions("derm7pt, linear probes", about, query.manifest, classes, scores)


def second_stage_predictions(setting: Setting) -> LabelPredictions:
    """The model's own predictions mixed with those of machines that also see the table (FusionM4Net's second stage).

    The machines learn from one half of the patients of `valid`, whom the model was not taught, and the other half
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
