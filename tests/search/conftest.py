"""A tiny model of pictures and texts, ten pictures of six patients, and a count of what is opened and embedded."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dermis import torchvision_operators  # noqa: F401 (before timm)
from dermis.cases.manifest import Manifest
from dermis.search import column
from dermis.search.encoder import Encoder
from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_two_tower

DIAGNOSES = ["melanoma", "nevus", None, "melanoma", "nevus", "melanoma", "nevus", "nevus", "melanoma", "nevus"]
PATIENTS = ["p1", "p1", "p2", "p2", None, "p3", "p4", "p4", "p5", "p6"]


@pytest.fixture(scope="session")
def tiny():
    """A two-tower model from a seed."""

    def make(seed=1):
        text = TextTowerConfig(width=32, layers=1, heads=2, context_length=16)
        config = TwoTowerConfig(image=ImageTowerConfig(name="test_efficientnet", size=32), text=text, embed_dim=12)
        model = build_two_tower(config, seed=seed)
        torch.manual_seed(seed)
        for p in model.parameters():
            p.data += 0.1 * torch.randn_like(p)
        return model.eval()

    return make


@pytest.fixture
def manifest(tmp_path):
    """Ten cases; the last shows the picture of the first, under another name."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for i in range(9):
        picture = Image.fromarray(rng.integers(0, 255, (3, 4, 3), dtype=np.uint8))
        picture.resize((48, 40), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    (folder / "9.png").write_bytes((folder / "0.png").read_bytes())
    table = {"case_id": [f"c{i}" for i in range(10)], "image": [f"{i}.png" for i in range(10)]}
    table |= {"diagnosis": DIAGNOSES, "patient_id": PATIENTS, "patient.age": np.arange(10) * 10.0}
    manifest = Manifest.build(pd.DataFrame(table), folder)
    manifest.write(tmp_path / "cases.parquet")
    return manifest


@pytest.fixture
def counted(monkeypatch):
    """{"opened": names of files, "embedded": sizes of batches}, as they come."""
    seen = {"opened": [], "embedded": []}
    read, encode = column.read_bytes, Encoder.encode

    def counting_read(root, path):
        seen["opened"].append(path)
        return read(root, path)

    def counting_encode(self, name, view_BCHW):
        seen["embedded"].append(len(view_BCHW))
        return encode(self, name, view_BCHW)

    monkeypatch.setattr(column, "read_bytes", counting_read)
    monkeypatch.setattr(Encoder, "encode", counting_encode)
    return seen
