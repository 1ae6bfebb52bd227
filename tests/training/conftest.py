"""A handful of real JPEG files and a method small enough to train in a test."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dermis.batch.augment import AUGMENTATIONS, Normalise
from dermis.batch.dataset import CaseDataset, Collate, PictureColumn
from dermis.batch.loader import Batches
from dermis.batch.sampler import EpochBatches
from dermis.cases.manifest import Manifest
from dermis.distributed import rank, world_size


class Twins(nn.Module):
    """A contrastive method with dropout: the two views of a case attract each other, the other cases repel."""

    def __init__(self, die_at: int | None = None) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * 16 * 16, 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 8)
        )
        self.register_buffer("epochs_started", torch.zeros(()))
        self.die_at = die_at

    def embed(self, batch):
        z_BVD = torch.stack([self.tower(view) for view in batch["image_BVCHW"].unbind(1)], 1)
        return {"first": F.normalize(z_BVD[:, 0], dim=-1), "second": F.normalize(z_BVD[:, 1], dim=-1)}

    def loss(self, embeddings, batch):
        logits = embeddings["first"] @ embeddings["second"].T / 0.2
        return {"loss": F.cross_entropy(logits, torch.arange(len(logits)))}

    def forward(self, batch):
        return self.loss(self.embed(batch), batch)

    def start_epoch(self, epoch, batches):
        self.epochs_started += 1

    def after_step(self, step):
        if step + 1 == self.die_at:
            raise InterruptedError(f"died after step {self.die_at}")


@pytest.fixture
def twins() -> type[Twins]:
    return Twins


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Manifest:
    """26 JPEGs of noise in different colours, of which one cannot be opened."""
    folder: Path = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(26):
        picture = np.clip(rng.integers(0, 255, 3) + rng.normal(0, 40, (24, 32, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), picture)
    (folder / "7.jpg").write_bytes(b"not a picture")
    table = pd.DataFrame({"case_id": [str(i) for i in range(26)], "image": [f"{i}.jpg" for i in range(26)]})
    return Manifest.build(table, folder)


def two_views(manifest: Manifest, batch_size: int = 6, workers: int = 0, family: str = "simclr") -> Batches:
    """This rank's batches of two augmented views."""
    augmentation = replace(AUGMENTATIONS[family], size=16)
    picture = PictureColumn("image", augmentation, Normalise((0.5,) * 3, (0.25,) * 3), views=2)
    dataset = CaseDataset(manifest, pictures=[picture], seed=3)
    return Batches(dataset, EpochBatches(len(dataset), batch_size, 3, rank(), world_size()), Collate(), workers)


@pytest.fixture(scope="session")
def make_batches(photographs):
    """``two_views`` of the photographs."""
    return partial(two_views, photographs)
