"""Fine-tuning on a set with augmented copies: who is predicted, what is learned from, what the report says."""

import json

import pandas as pd
import pytest

from dermis.cases.manifest import Manifest
from dermis.cases.synthetic import make_cases
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.finetune import finetune
from dermis.evaluation.finetune_config import FineTuneConfig, FineTuneTraining
from dermis.evaluation.rounds import ORIGINALS
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return make_cases(tmp_path_factory.mktemp("cases"), patients=30, size=40, seed=0)


@pytest.fixture(scope="module")
def augmented(cases):
    """The same with two copies of each."""
    table = cases.table
    copies = [table.assign(case_id=table["case_id"] + f"_{k}", origin_id=table["case_id"]) for k in range(2)]
    return Manifest.build(pd.concat([table, *copies], ignore_index=True), cases.root, cases.categories)


def model():
    return build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32)), 3)


def settings(**changes):
    loop = FineTuneTraining(epochs=1, batch_size=16, workers=0, lr=1e-3)
    return FineTuneConfig(targets=["finding.pigment_network"], training=loop, **changes)


@pytest.mark.parametrize("folds, split", [(3, "all"), (None, "test")])
def test_each_original_is_predicted_once_and_copies_are_learned_from(cases, augmented, tmp_path, folds, split):
    alone = finetune(model(), cases, settings(folds=folds), tmp_path / "alone", split=split)
    found = finetune(model(), augmented, settings(folds=folds), tmp_path / "augmented", split=split)
    assert found.cases.table["case_id"].tolist() == alone.cases.table["case_id"].tolist()
    assert found.scores["finding.pigment_network"].shape == alone.scores["finding.pigment_network"].shape
    assert ORIGINALS in found.notes
    assert ORIGINALS not in alone.notes
    alone_steps, steps = (
        [max(json.loads(line)["step"] for line in path.open()) for path in (tmp_path / name).rglob("log.jsonl")]
        for name in ("alone", "augmented")
    )
    assert sum(steps) > 2 * sum(alone_steps)


def test_the_report_counts_the_originals(augmented, cases, tmp_path):
    config = EvaluationConfig(protocols=["finetune"], split="all", finetune=settings(folds=3, out=tmp_path))
    report = evaluate(model(), augmented, config)
    assert report.cases == len(cases)
    assert {entry.n for entry in report.entries} <= set(range(len(cases) + 1))
    assert ORIGINALS in report.sections[0].about
    assert f"{2 * len(cases)} of {3 * len(cases)} cases are augmented copies: learned from, not scored." in report.notes
