"""Picture columns as their towers want them; pictures that cannot be opened; whose case a row is."""

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from dermis.batch.augment import AUGMENTATIONS, Normalise
from dermis.batch.dataset import CaseDataset, Collate, PictureColumn, picture_columns
from dermis.batch.loader import Batches
from dermis.batch.patients import PatientBatches
from dermis.cases.manifest import Manifest
from dermis.towers import Transform

BAD = [1, 6, 7, 8, 13]  # of patients a, b, c with lesions 0-5, 6-8, 9-17: all of b's
PATIENTS = np.repeat(["a", "b", "c"], [6, 3, 9])


def test_each_column_has_the_size_and_colours_of_its_tower_and_the_familys_draws():
    small = Transform((32, 32), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    large = Transform((64, 64), (0.4, 0.5, 0.6), (4.0, 5.0, 6.0))
    family = AUGMENTATIONS["sm3"]
    first, second = picture_columns({"dermoscopy": small, "image": large}, family, views=2)
    assert (first.column, second.column, first.views, second.views) == ("dermoscopy", "image", 2, 2)
    for found, wanted in ((first, small), (second, large)):
        assert found.augmentation.size == wanted.size[0]
        assert (found.normalise.mean, found.normalise.std) == (wanted.mean, wanted.std)
        assert found.augmentation.scale == family.scale
        assert found.augmentation.rotation == family.rotation


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> Manifest:
    folder = tmp_path_factory.mktemp("clinic")
    for row in range(len(PATIENTS)):
        cv2.imwrite(str(folder / f"{row}.png"), np.full((8, 8, 3), row, np.uint8))
    for row in BAD:
        (folder / f"{row}.png").write_bytes(b"not a picture")
    names = [str(row) for row in range(len(PATIENTS))]
    table = pd.DataFrame({"case_id": names, "image": [f"{name}.png" for name in names], "patient_id": PATIENTS})
    return Manifest.build(table, folder)


def samples_of(cases: Manifest, **settings) -> CaseDataset:
    picture = PictureColumn("image", replace(AUGMENTATIONS["centre"], size=8), Normalise((0.0,) * 3, (1 / 255,) * 3))
    return CaseDataset(cases, pictures=[picture], seed=3, **settings)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_patients_goes_without_what_cannot_be_opened(clinic, workers):
    order = PatientBatches(PATIENTS, patients=3, lesions=4, seed=0)
    batches = Batches(samples_of(clinic, drop_unreadable=True), order, Collate(), workers)
    missed = set()
    for order.epoch in range(3):
        [keys], [batch] = list(order), list(batches)
        rows = [row for _, row in keys if row not in BAD]
        assert batch["row_B"].tolist() == rows
        assert batch["image_BVCHW"][:, 0, 0, 4, 4].round().tolist() == rows
        assert [row for row, _ in batch["quarantined"]] == [row for _, row in keys if row in BAD]
        missed |= {row for row, _ in batch["quarantined"]}
    assert missed == set(BAD)


def test_where_nothing_can_be_opened_one_case_stands_in_so_that_no_rank_is_without_a_batch(clinic):
    dataset = samples_of(clinic, drop_unreadable=True)
    for epoch in range(5):
        batch = Collate()(dataset.__getitems__([(epoch, 6), (epoch, 7), (epoch, 8)]))
        [row] = batch["row_B"].tolist()
        assert row not in BAD
        assert {6, 7, 8} <= {bad for bad, _ in batch["quarantined"]} <= set(BAD)
    with pytest.raises(ValueError, match="21 pictures in a row cannot be opened"):
        samples_of(clinic.select(np.isin(np.arange(18), BAD)), drop_unreadable=True).__getitems__([(0, 0), (0, 1)])


def test_other_batches_keep_their_size(clinic):
    dataset = samples_of(clinic)
    batch = Collate()(dataset.__getitems__([(2, row) for row in range(18)]))
    assert [i for i, row in enumerate(batch["row_B"].tolist()) if row != i] == BAD
    assert not set(batch["row_B"].tolist()) & set(BAD)
    assert torch.equal(batch["row_B"], Collate()([dataset[2, row] for row in range(18)])["row_B"])


@pytest.mark.parametrize(
    ("ids", "patients"),
    [
        ({}, [0, 1, 2, 3]),
        ({"origin_id": [None, "v", "v", "0"]}, [0, 1, 1, 0]),
        ({"lesion_id": ["x", "y", None, "x"]}, [0, 1, 2, 0]),
        ({"patient_id": ["p", "p", None, "q"], "lesion_id": ["x", "y", "z", "z"]}, [0, 0, 1, 1]),
    ],
)
def test_every_batch_says_whose_its_cases_are(ids, patients):
    table = pd.DataFrame({"case_id": list("0123"), "image": "x.png"} | ids)
    dataset = CaseDataset(Manifest.build(table, "."))
    assert Collate()([dataset[0, row] for row in range(4)])["patient_B"].tolist() == patients
