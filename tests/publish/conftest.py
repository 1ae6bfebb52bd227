"""A home folder, and a model folder as `dermis train` and `dermis calibrate` leave it, full of that home's paths."""

import json

import numpy as np
import pytest
import torch
import yaml

from dermis import torchvision_operators  # noqa: F401 (before timm)
from dermis.decision import stored
from dermis.decision.decision import Labelled, fit
from dermis.decision.rules import Rules
from dermis.evaluation.report import Entry, Report, Section
from dermis.model import save
from dermis.model.card import Card
from dermis.towers.build import (
    BranchesConfig,
    ImageTowerConfig,
    TextTowerConfig,
    TwoTowerConfig,
    build_branches,
    build_image_tower,
    build_two_tower,
)

HOME = "/home/jdoe"
ENTRY = {"protocol": "kNN", "metric": "accuracy", "value": 0.9123, "low": 0.9, "high": 0.92, "n": 2015, "patients": 900}
ENTRY |= {"model": "clip_small", "dataset": "HAM10000", "split": "test", "seed": 0}
DECIDED = {"protocol": "decision", "metric": "coverage", "n": 500}
COMMAND = f"dermis train {HOME}/r/clip_small.yaml --data.manifest=clinic_jdoe/cases.parquet --out '{HOME}/My Runs/x'"
RECIPE = {
    "name": "clip_small",
    "data": {
        "manifest": "../clinic_jdoe/cases.parquet",
        "reader": None,
        "root": "/mnt/pictures of jdoe/skin",
        "headings": {"caption": "History / findings"},
        "cache": "runs/embeddings",
        "hold_out": ["wart"],
    },
    "model": {
        "image": {"name": "open_clip:hf-hub:org/repo", "weights": f"local-dir:{HOME}/weights"},
        "text": {"name": f"hf:{HOME}/bert", "tokenizer": f"{HOME}/runs/tokenizer.json"},
    },
    "method": {"name": "clip"},
    "training": {"epochs": 3, "batch_size": 32, "lr": 0.001, "seed": 0},
    "evaluation": {"concept_terms": "C:\\Users\\jdoe\\terms.yaml", "prompt_names": {"nevus": ["mole/naevus"]}},
}


@pytest.fixture(autouse=True)
def _home(monkeypatch):
    monkeypatch.setenv("HOME", HOME)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def two_tower():
    """Pictures and texts, no weight of it zero or one."""
    text = TextTowerConfig(width=32, layers=1, heads=2, context_length=16)
    config = TwoTowerConfig(image=ImageTowerConfig(name="test_vit", size=32), text=text, embed_dim=24)
    return _moved(build_two_tower(config, seed=1))


@pytest.fixture(scope="session")
def tower():
    """A residual network alone."""
    return _moved(
        build_image_tower(ImageTowerConfig(name="test_resnet", size=48, resize_mode="squash"), pretrained=False)
    )


@pytest.fixture(scope="session")
def branches():
    """Two pictures of a case, and heads that say its diagnosis."""
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32)), seed=1)
    model.add("labels", classes={"diagnosis": ["melanoma", "nevus"]})
    return _moved(model)


def _moved(model):
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    return model.eval()


@pytest.fixture(scope="session")
def report():
    """Of the model and its untrained self, over everybody and by group."""
    entries = [
        Entry(**ENTRY, command=COMMAND),
        Entry(**ENTRY | {"metric": "ECE", "value": float("nan"), "low": float("nan"), "high": float("nan")}),
        Entry(**ENTRY | {"model": "untrained", "value": 0.2, "low": 0.1, "high": 0.3}),
        Entry(**ENTRY | {"value": 0.7, "low": 0.6, "high": 0.8, "n": 40}, subgroup="skin_tone = 6"),
        Entry(**ENTRY | {"value": 0.1, "low": 0.0, "high": 0.2, "n": 90}, subgroup="skin_tone: 1 minus 6"),
        Entry(**ENTRY | {"value": 0.3, "low": 0.2, "high": 0.4, "n": 77}, class_name="nevus"),
    ]
    about = "k = 20. Models: /mnt/pictures of jdoe/skin/runs/seed-0, file:///home/jdoe/b, https://a.org/jd/x, 1/2."
    return Report(
        title="clip_small", dataset="HAM10000", split="test", cases=2015, patients=900, synthetic=False,
        entries=entries, sections=[Section("clip_small", "kNN", about)], bad_pictures=["ISIC_0012345", "ISIC_0054321"],
        notes=[f"Read from {HOME}/x/cases.parquet; images.zip!/images/a.jpg."], command=COMMAND,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path, two_tower, report, fitted):
    """The model's folder with recipe, report, decision, and things that are nobody's business."""
    card = Card(data="HAM10000, train split.", contact="jane@clinic.org")
    made = save(tmp_path / "trained", two_tower, card=card, report=json.loads(report.json()))
    (made / "recipe.yaml").write_text(f"# {COMMAND}\n" + yaml.safe_dump(RECIPE))
    decided = Report(
        title="Decision", dataset="HAM10000", split="test", cases=500, patients=300, synthetic=False, command=COMMAND,
        entries=[
            Entry(**ENTRY | DECIDED),
            Entry(**ENTRY | DECIDED | {"value": 0.81, "n": 40, "subgroup": "skin_tone = 6"}),
        ],
        sections=[Section("trained", "decision", "aps sets that hold 0.9.")], notes=["Promised is 0.9 of patients."],
    )  # fmt: skip
    stored.write(fitted, made, decided.json())
    (made / "patients.csv").write_text("p1")
    (made / "embeddings").mkdir()
    (made / "embeddings" / "x.model").write_text("")
    return made


@pytest.fixture(scope="session")
def fitted():
    """A decision between two classes."""
    rng = np.random.default_rng(0)

    def cases(count):
        label_N = np.arange(count) % 2
        feature_ND = rng.normal(size=(count, 64)).astype(np.float32) + 2 * label_N[:, None]
        return Labelled(
            feature_ND.astype(np.float32), label_N, np.array([f"patient-{i}" for i in range(count)], object)
        )

    return fit(cases(40), cases(60), ["melanoma", "nevus"], Rules(most_classes=1, ood_level=0.1), "a-tower")
