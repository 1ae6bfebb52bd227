"""DermaMNIST as its NumPy files lie there: pictures read in place, the official split, what is not DermaMNIST."""

import zipfile

import numpy as np
import pytest

from dermis.cases.catalogue import import_set
from dermis.pictures import store
from dermis.pictures.decode import decode

COUNTS = {"train": 7007, "val": 1003, "test": 2005}


def saved(path, counts=COUNTS, side=8, compress=True, **others):
    """The arrays of the release, all black but for the first test picture; labels go round the classes."""
    arrays = {}
    for part, count in counts.items():
        arrays[f"{part}_images"] = np.zeros((count, side, side, 3), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count, dtype=np.uint8) % 7)[:, None]
    arrays["test_images"][0] = 200
    (np.savez_compressed if compress else np.savez)(path, **{**arrays, **others})
    return path


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("MedMNIST")
    saved(folder / "dermamnist.npz")
    saved(folder / "dermamnist_64.npz", side=16, compress=False)
    saved(folder / "pathmnist.npz", {"train": 3, "val": 2, "test": 2}, side=32)
    return folder


def test_the_whole_release_is_read_in_place(release):
    manifest = import_set("dermamnist", release)
    table = manifest.table.set_index("case_id")
    assert manifest.notes == ()
    assert table["split"].value_counts().to_dict() == {"train": 7007, "valid": 1003, "test": 2005}
    assert table["image"]["val_17"] == "dermamnist_64.npz!/val_images/17"
    assert decode(store.read_bytes(release, table["image"]["test_0"])).mean() == 200
    assert decode(store.read_bytes(release, table["image"]["test_1"])).mean() == 0
    assert table.loc[[f"train_{i}" for i in range(8)], "diagnosis"].tolist() == [
        "actinic keratosis", "basal cell carcinoma", "benign keratosis", "dermatofibroma", "melanoma", "nevus",
        "vascular", "actinic keratosis",
    ]  # fmt: skip
    assert manifest.groups().nunique() == 10015
    assert set(table["modality"]) == {"dermoscopic"}


def test_a_size_is_an_option_and_a_file_can_be_given(release):
    small = import_set("dermamnist", release, size="8")
    assert small.table["image"][0] == "dermamnist.npz!/train_images/0"
    with pytest.raises(ValueError, match=r"unknown size 28\. .*Allowed: 16, 8"):
        import_set("dermamnist", release, size=28)
    one = import_set("dermamnist", release / "dermamnist.npz")
    assert one.table["image"][0] == "dermamnist.npz!/train_images/0"


def test_the_corrected_file_is_known_and_other_counts_are_said(tmp_path):
    saved(tmp_path / "dermamnist_corrected_28.npz", {"train": 8215, "val": 573, "test": 1227})
    assert import_set("dermamnist", tmp_path).notes == ()
    saved(tmp_path / "dermamnist_corrected_28.npz", {"train": 7, "val": 2, "test": 3})
    (note,) = import_set("dermamnist", tmp_path).notes
    assert (
        "train, val and test have 7 2 3 pictures, not as many as published (DermaMNIST: 7007 1003 2005; Derma" in note
    )
    saved(tmp_path / "dermamnist.npz", {"train": 7, "val": 2, "test": 3})
    with pytest.raises(ValueError, match=r"dermamnist\.npz and dermamnist_corrected_28\.npz both have pictures of 8"):
        import_set("dermamnist", tmp_path)


def test_what_is_not_dermamnist_is_refused_in_a_sentence(tmp_path, release):
    with pytest.raises(ValueError, match="no DermaMNIST under"):
        import_set("dermamnist", tmp_path)
    with zipfile.ZipFile(tmp_path / "pathmnist.npz", "w") as copy, zipfile.ZipFile(release / "pathmnist.npz") as other:
        for name in other.namelist():
            copy.writestr(name, other.read(name))
    with pytest.raises(ValueError, match="no DermaMNIST under"):
        import_set("dermamnist", tmp_path)
    counts = {"train": 9, "val": 2, "test": 2}
    for others, sentence in (
        ({"train_labels": np.full((9, 1), 8, np.uint8)}, "unknown label of DermaMNIST '8'"),
        ({"train_labels": np.zeros((8, 1), np.uint8)}, "has 9 train_images and 8 train_labels"),
        ({"val_images": np.zeros((2, 8, 8, 3))}, "lacks val_images or val_labels: is it DermaMNIST"),
    ):
        saved(tmp_path / "dermamnist.npz", counts, **others)
        with pytest.raises(ValueError, match=sentence):
            import_set("dermamnist", tmp_path)
    (tmp_path / "dermamnist.npz").write_bytes(b"PK truncated")
    with pytest.raises(ValueError, match=r"dermamnist\.npz cannot be opened .* is the download complete"):
        import_set("dermamnist", tmp_path)
