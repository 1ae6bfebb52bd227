"""Fine-tuning: a pre-trained model, labels, and a prediction for each scored case (SM3, Section IV.A.2, Figure 4).

FOLDER/seed-0/            log.jsonl  start.json  best.safetensors  best.json  model/  (checkpoints/ until it is done)
FOLDER/seed-0/fold-1/     the same of each fold

Interrupted and started again, a run goes on, and ends where the uninterrupted one does. A run that is done is read.

Shapes: N cases, C classes of a label, S seeds.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dermis.cases.manifest import Manifest
from dermis.cases.targets import labels_of, targets_of
from dermis.distributed import world_size
from dermis.evaluation.finetune_batches import Features
from dermis.evaluation.finetune_config import NONE, FineTuneConfig
from dermis.evaluation.finetune_run import Fitted, Task, fit
from dermis.evaluation.label_predictions import LabelPredictions
from dermis.evaluation.rounds import rounds_of
from dermis.model.cache import tower_key
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig
from dermis.towers.two_tower import TwoTower


@dataclass(frozen=True)
class Finetuned(LabelPredictions):
    """Predictions of fine-tuned models; ``scores`` (S, N, C) are over seeds, ``cases`` those that could be read.

    ``models``: a folder for each seed (and fold), in order; none for a model that cannot say how to build it again.
    ``bad``: case_id -> why its pictures could not be read, for the scored cases left out.
    """

    models: list[Path]
    bad: dict[str, str]
    notes: list[str]


def finetune(
    model: nn.Module,
    manifest: Manifest,
    config: FineTuneConfig,
    folder: Path | str,
    *,
    split: str = "test",
    cache: Path | None = None,
) -> Finetuned:
    """Fine-tune copies of ``model``, one a seed (and fold), and predict the labels of the scored cases.

    ``model``: ``Branches``, or a ``TwoTower`` or image tower, which then looks at the column ``image``. ``split``:
    ``test``, or ``all`` with folds. ``cache``: folder of pooled vectors (``dermis.model.embed``), used while the towers
    are frozen. Classes are those of the whole manifest; nothing else is learnt from scored cases, except that protocol
    ``paper`` chooses the epoch on them. What ``model`` may have been taught of them before, ``notes`` say.
    Raises ValueError for settings that do not fit model and cases, and if ``folder`` holds the run of other settings,
    another model or other cases; what ``train`` raises.
    """
    if world_size() > 1:
        raise ValueError("fine-tuning runs in one process: save the model, then `dermis evaluate` it.")
    start = as_branches(model)
    manifest.require(start.pictures, "fine-tuning this model")
    targets = targets_of(manifest, config.targets)
    rounds = rounds_of(manifest, config, split, next(iter(targets)))
    features = Features(manifest, cache)
    task = Task(start, tower_key(start), config, targets, labels_of(manifest, targets), features)
    score = {k: np.zeros((len(config.seeds), len(manifest), len(names))) for k, names in targets.items()}
    fitted = []
    for s, seed in enumerate(config.seeds):
        for part in rounds:
            one = fit(task, part, seed, Path(folder) / f"seed-{seed}" / (f"fold-{part.name}" if part.name else ""))
            for name, p_RC in one.scores.items():
                score[name][s, part.scored] = p_RC
            fitted.append(one)
    scored = np.sort(np.concatenate([part.scored for part in rounds]))
    kept = np.array([row for row in scored if row not in features.bad], dtype=int)
    if not len(kept):
        raise ValueError("no scored case has pictures that can be opened.")
    case_id = manifest.table["case_id"]
    return Finetuned(
        protocol=protocol_name(config),
        about=about(config, fitted),
        cases=manifest.select(kept),
        classes=targets,
        scores={name: score_SNC[:, kept] for name, score_SNC in score.items()},
        models=[one.folder for one in fitted if one.folder is not None],
        bad={str(case_id[row]): features.bad[row] for row in scored.tolist() if row in features.bad},
        notes=list(dict.fromkeys([*notes_on(model, config), *(note for one in fitted for note in one.notes)])),
    )


def as_branches(model: nn.Module) -> Branches:
    """A copy of the model's image towers, and of a ``Branches``' label heads, saved as one without frozen towers.

    Raises ValueError for something without an image tower.
    """
    if isinstance(model, Branches):
        found, config = copy.deepcopy(model), model.config
        for part in other_parts(model):
            found.remove(part)
    else:
        tower = copy.deepcopy(model.image if isinstance(model, TwoTower) else model)
        if not hasattr(tower, "features") or not hasattr(tower, "transform"):
            raise ValueError(f"fine-tuning needs a model with an image tower; {type(model).__name__} has none.")
        own = getattr(tower, "config", None)
        config = BranchesConfig(image=own, paired=False) if isinstance(own, ImageTowerConfig) else None
        found = Branches({"image": tower})
    if isinstance(config, BranchesConfig):
        config = replace(config, image=replace(config.image, freeze=False))
    found.config = config
    return found


def other_parts(model: nn.Module) -> list[str]:
    """The parts on the towers that fine-tuning has no use for: they would not fit towers that moved."""
    return [part for part in model.parts if part != "labels"] if isinstance(model, Branches) else []


def notes_on(model: nn.Module, config: FineTuneConfig) -> list[str]:
    """What to know of the given model: parts that are not used, and what it may know of cases that folds score.

    Folds score all cases, those of `train` among them, and a model does not say which cases it learned from.
    """
    notes = []
    if left_out := other_parts(model):
        notes.append(
            f"The model's {' and '.join(left_out)} heads are left out: fine-tuned are its towers and label heads."
        )
    heads: Any = model.predicting if isinstance(model, Branches) else None
    taught = ", ".join(heads.classes) if heads is not None else "texts" if isinstance(model, TwoTower) else ""
    if config.folds and taught:
        notes.append(
            f"The model was taught {taught} before, and folds score every case: if it learned from any of these cases, "
            "it has seen their answers, and the figures are too good."
        )
    return notes


def protocol_name(config: FineTuneConfig) -> str:
    """What the report calls it."""
    if config.protocol == "paper":
        return "fine-tuning, epoch chosen on the scored split (paper)"
    return "fine-tuning" if config.folds is None else f"fine-tuning, {config.folds} folds"


def about(config: FineTuneConfig, fitted: list[Fitted]) -> str:
    """One sentence: cases, what learned, and which epochs were kept and why."""
    first, cases = fitted[0], sorted({one.cases for one in fitted})
    count = str(cases[0]) if len(cases) == 1 else f"{cases[0]} to {cases[-1]}"
    adapters = f", adapters of rank {config.lora} on {first.adapters} linear layers" if first.adapters else ""
    seen = "without augmentation" if config.augmentation == NONE else f"with augmentation {config.augmentation}"
    where = "the next fold" if config.folds else "valid" if config.protocol == "clean" else "the scored split itself"
    best = ", ".join(f"{one.epoch} (seed {one.seed}{f', fold {one.fold}' if one.fold else ''})" for one in fitted)
    return (
        f"{first.learn:,} of {first.weights:,} weights learned{adapters}, on {count} cases {seen}; of at most "
        f"{config.training.epochs} epochs the one with the best mean macro AUROC on {where} was kept: {best}."
    )
