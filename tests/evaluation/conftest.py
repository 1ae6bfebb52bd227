"""Cases with metadata, vectors that stand for their pictures, and a model whose pictures and tables share spaces."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from dermis.cases.manifest import Manifest
from dermis.methods.tables import learn_tables
from dermis.model import save
from dermis.recipe import to_mapping
from dermis.towers.branches import Branches
from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_two_tower

DIAGNOSES = ["melanoma", "nevus", "nevus", "nevus", "wart"]
D = 6


@pytest.fixture(scope="session")
def lesions(tmp_path_factory):
    """150 cases of 75 patients, most of them nevi; the picture of case 120, in the test split, is case 3's."""
    root = tmp_path_factory.mktemp("lesions")
    rng = np.random.default_rng(0)
    n = 150
    for i in range(n):
        Image.fromarray(rng.integers(0, 255, size=(40, 40, 3), dtype=np.uint8)).save(root / f"{i}.png")
    diagnosis = rng.choice(DIAGNOSES, size=n)
    diagnosis[120] = diagnosis[3]
    table = pd.DataFrame(
        {
            "case_id": [f"case-{i}" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "image": [f"{i}.png" for i in range(n)],
            "diagnosis": diagnosis,
            "split": np.repeat(["train", "valid", "test"], [70, 30, 50]),
            "lesion.size": (2.0 + 3 * (diagnosis == "melanoma") + rng.normal(size=n)).round(1),
            "lesion.site": np.where(rng.random(n) < 0.6, np.where(diagnosis == "wart", "hand", "back"), "face"),
            "patient.age": np.repeat(rng.integers(3, 8, size=n // 2) * 10.0, 2),
            "patient.sex": np.repeat(rng.choice(["f", "m"], size=n // 2), 2),
        }
    )
    table.loc[rng.random(n) < 0.2, "lesion.size"] = None
    table.loc[[140, 141], ["lesion.size", "lesion.site", "patient.age", "patient.sex"]] = None
    table.loc[120, "image"] = "3.png"
    table.loc[131, "patient.age"] = 90.0  # years after case 130, of the same patient
    return Manifest.build(table, root)


@pytest.fixture(scope="session")
def vectors():
    """What an image tower would say of cases, and that every picture can be read."""

    def embed(manifest):
        rows = manifest.table["case_id"].str.removeprefix("case-").astype(int).to_numpy()
        noise_ND = np.random.default_rng(5).normal(size=(150, D))
        noise_ND[120] = noise_ND[3]
        place = manifest.table["diagnosis"].map({"melanoma": 0, "nevus": 1, "wart": 2}).fillna(1).to_numpy(dtype=int)
        vector_ND = (1.5 + 1.2 * np.eye(D)[place] + noise_ND[rows]).astype(np.float32)
        return vector_ND, np.ones(len(rows), bool)

    return embed


class Tower(nn.Module):
    """An image tower that is never asked: its vectors are given."""

    dim = D

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


@pytest.fixture
def branches(lesions):
    """levels -> a model with towers and spaces for the tables of these levels, drawn at random."""

    def build(*levels, pooling="mean"):
        torch.manual_seed(0)
        model = Branches({"image": Tower()})
        schemas = learn_tables(lesions.split("train"), levels)
        plain = {level: to_mapping(schema) for level, schema in schemas.items()}
        tables = model.add("tables", schemas=plain, width=8)
        model.add("spaces", tables=dict(tables.dims), width=5, pooling=pooling)
        return model.eval()

    return build


@pytest.fixture(scope="session")
def two_models_and_sets(tmp_path_factory):
    """A folder with the models seed-0 and seed-1, and sets with pictures, one of which is none."""
    folder = tmp_path_factory.mktemp("suite")
    text = TextTowerConfig(width=16, layers=1, heads=2, context_length=16)
    image = ImageTowerConfig(name="test_vit", size=32)
    for seed in (0, 1):
        model = build_two_tower(TwoTowerConfig(image=image, text=text, embed_dim=8), seed=seed)
        save(folder / f"seed-{seed}" / "model", model)
    rng = np.random.default_rng(0)
    for i in range(36):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "35.png").write_bytes(b"no picture")
    ids = {"case_id": [f"c{i}" for i in range(36)], "image": [f"{i}.png" for i in range(36)]}
    labelled = pd.DataFrame(ids | {"diagnosis": ["acne", "nevus", "wart"] * 12})
    Manifest.build(labelled, folder).write(folder / "sets" / "pad-ufes-20.parquet")
    captioned = pd.DataFrame(ids | {"caption": [f"case {i}" for i in range(36)]})
    Manifest.build(captioned, folder).write(folder / "sets" / "skincap.csv")
    return folder
