"""What training logs of the valid split, epoch by epoch, is what that epoch's model says there: counted once more."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import dermis
from dermis.cases.manifest import Manifest
from dermis.cli import main
from dermis.model import load
from dermis.model.embed import embed_cases


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two epochs that looks at `valid` after each; its folder and its cases."""
    folder = tmp_path_factory.mktemp("watch")
    manifest = dermis.make_cases(folder / "cases", patients=60, size=48, seed=4, split=(0.5, 0.25, 0.25))
    command = ["train", "multi_label", "--smoke", "--out", folder / "run"]
    command += ["--data.manifest", folder / "cases" / "cases.parquet", "--data.cache", folder / "cache"]
    command += ["--training.epochs", 2, "--training.evaluate-epochs", 1, "--evaluation.n-boot", 5]
    command += ["--evaluation.protocols", "labels", "pairs", "second_stage"]
    with pytest.raises(SystemExit) as end:
        main([str(part) for part in command])
    assert end.value.code == 0
    return folder / "run", manifest


def logged(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "evaluate"]


def features(folder, manifest: Manifest, split: str = "valid"):
    """The trained model, a split's cases, and the features of their pictures."""
    model, cases = load(folder / "model").eval(), manifest.split(split)
    feature_ND, ok_N = embed_cases(model, cases)
    assert ok_N.all()
    return model, cases, torch.from_numpy(np.asarray(feature_ND))


def macro_auroc(model, cases: Manifest, feature_ND: torch.Tensor) -> float:
    """Mean over labels and their classes, by scikit-learn."""
    with torch.inference_mode():
        said = {name: p_NC.double().numpy() for name, p_NC in model.predict(feature_ND).items()}
    values = []
    for name, p_NC in said.items():
        truth, classes = cases.table[name], model.predicting.classes[name]
        told = truth.notna().to_numpy()
        of_class = [(truth[told] == c).to_numpy() for c in classes]
        areas = [roc_auc_score(y, p_NC[told, c]) for c, y in enumerate(of_class) if 0 < y.sum() < len(y)]
        values += [np.mean(areas)] if areas else []
    return float(np.mean(values))


def test_the_last_epochs_figures_are_those_of_the_saved_model_on_valid(run):
    folder, manifest = run
    first, last = logged(folder)
    key = "own predictions of labels: macro AUROC"
    expected = macro_auroc(*features(folder, manifest))
    assert last[key] == pytest.approx(expected, abs=1e-6)
    assert first[key] != last[key]
    assert macro_auroc(*features(folder, manifest, "test")) != pytest.approx(expected, abs=1e-6)

    model, _, feature_ND = features(folder, manifest)
    with torch.inference_mode():
        parts = model.apart(feature_ND)
    derm, photo = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (parts[p].numpy() for p in ("dermoscopy", "image"))
    )
    similar = derm @ photo.T
    rank = np.mean([(row >= row[i] - 1e-6).sum() for i, row in enumerate(similar)])
    assert last["pair matching, dermoscopy to clinical, features: average rank"] == pytest.approx(rank, abs=0.05)


def test_what_learns_from_valid_is_not_watched_there(run):
    folder, _ = run
    report = json.loads((folder / "report" / "report.json").read_text())
    assert any(e["protocol"] == "second stage with metadata" for e in report["entries"])
    for line in logged(folder):
        assert {name.split(":")[0] for name in line if ":" in name} == {
            "own predictions of labels",
            "own predictions of labels, seven-point checklist (weighted, from 3)",
            "pair matching, dermoscopy to clinical, features",
            "pair matching, clinical to dermoscopy, features",
        }
