"""One run of a fine-tuning: one seed, one set of training cases, one folder.

Shapes: N cases of the manifest, R scored ones, L labels, C classes of a label.
"""

import copy
import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dermis.evaluation.best_epoch import BestEpoch, refuse_undecidable
from dermis.evaluation.each_label import macro_aurocs
from dermis.evaluation.finetune_batches import Features, batches_of, learnable
from dermis.evaluation.finetune_config import FineTuneConfig
from dermis.evaluation.finetune_method import FineTuneMethod
from dermis.evaluation.label_predictions import predicted
from dermis.evaluation.rounds import Round
from dermis.model import save
from dermis.recipe import to_mapping
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig
from dermis.training.loop import quarantined, train
from dermis.training.same_run import refuse_other

START = "start.json"


@dataclass(frozen=True)
class Task:
    """What all runs share: the model to start from and its key (``tower_key``), settings, cases and their labels."""

    start: Branches
    key: str
    config: FineTuneConfig
    targets: dict[str, list[str]]
    label_NL: np.ndarray  # noqa: N815 (shapes are in the names)
    features: Features


@dataclass(frozen=True)
class Fitted:
    """A run that is done: label -> probabilities (R, C) of its scored cases, and what is to be said about it."""

    scores: dict[str, np.ndarray]
    folder: Path | None
    """of the model"""
    seed: int
    fold: str
    epoch: int
    learn: int
    weights: int
    adapters: int
    cases: int
    notes: list[str]


def fit(task: Task, part: Round, seed: int, folder: Path) -> Fitted:
    """Train on the round's cases or go on from what ``folder`` holds; predict its scored cases with the best epoch.

    The global random numbers stay as they were. Raises as ``finetune``.
    """
    config, features = task.config, task.features
    device = next(task.start.parameters()).device
    rows = learnable(features.manifest, part.train, task.label_NL, task.start.pictures)
    refuse_undecidable(task.label_NL[part.choose], f"the {len(part.choose)} cases that choose it")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        method = FineTuneMethod(copy.deepcopy(task.start), config, task.targets).to(device)
        fixed, (learn, weights) = not method.towers_learn, method.counts
        batches = batches_of(method, features, rows, task.label_NL, config, seed)

        def measure(method: nn.Module) -> dict[str, float]:
            h_RD, ok_R = features(method.model, part.choose, fixed)
            label_RL = task.label_NL[part.choose][ok_R]
            refuse_undecidable(label_RL, f"the {len(label_RL)} readable cases that choose it")
            score = predicted(method.model, h_RD[ok_R])
            found = macro_aurocs(score, dict(zip(score, label_RL.T, strict=True)))
            return {name: float(value_R[0]) for name, value_R in found.items()}

        _same_start(folder, _facts(task, rows, part.choose))
        best = BestEpoch(folder, measure, lambda: batches.order.epoch + 1, config.patience)
        if not best.complete:
            train(method, batches, replace(config.training, seed=seed), folder, device, best)
            best.close()
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        best.restore(method)
    model, notes = method.finished_model(), list(part.notes)
    if left_out := len(part.train) - len(batches.dataset):
        notes.append(f"{left_out} of {len(part.train)} training cases lack labels or pictures and are left out.")
    if replaced := len(quarantined(folder)):
        notes.append(f"{replaced} training pictures could not be opened and were replaced (quarantine.jsonl).")
    home = save(folder / "model", model) if isinstance(model.config, BranchesConfig) else None
    if home is None:
        notes.append("No folder of the fine-tuned model: its towers cannot say how to build them again.")
    kept, given = method.gone_on_from
    if kept < given:
        notes.append(f"Of the {given:,} weights of the model's label heads {kept:,} are gone on from.")
    assert best.best is not None
    return Fitted(
        scores=predicted(model, features(model, part.scored, fixed)[0]),
        folder=home,
        seed=seed,
        fold=part.name,
        epoch=best.best[0],
        learn=learn,
        weights=weights,
        adapters=method.adapters,
        cases=len(batches.dataset),
        notes=notes,
    )


def _facts(task: Task, *parts: np.ndarray) -> dict[str, object]:
    """All that a run's weights depend on, seed and pictures apart."""
    settings = to_mapping(task.config)
    for name in ("out", "seeds"):
        del settings[name]
    digest = hashlib.blake2b(json.dumps(task.targets).encode(), digest_size=16)
    for rows in parts:
        cases = task.features.manifest.table["case_id"][rows].tolist()
        digest.update(json.dumps([cases, task.label_NL[rows].tolist()]).encode())
    return settings | {"model": task.key, "cases": digest.hexdigest()}


def _same_start(folder: Path, facts: dict[str, object]) -> None:
    """Note how the run in ``folder`` starts; raise ValueError if it holds one that started otherwise."""
    if (folder / START).is_file():
        held = json.loads((folder / START).read_text())
        refuse_other(folder, held, facts, opaque=("model", "cases"), option="--evaluation.finetune.out")
        return
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".writing-{START}"
    scratch.write_text(json.dumps(facts, indent=1))
    scratch.replace(folder / START)
