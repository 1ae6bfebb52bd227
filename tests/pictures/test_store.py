"""Bytes come from files, zips and HDF5 files alike, and what is missing is named."""

import multiprocessing
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from dermis.pictures import PictureError, names, store

CONTENTS = {f"images/isic_{i:04}.jpg": bytes([i]) * (100 + i) for i in range(50)}


@pytest.fixture
def root(tmp_path):
    for name, data in CONTENTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    for name, method in (("stored.zip", zipfile.ZIP_STORED), ("packed.ZIP", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / name, "w", method) as packed:
            packed.mkdir("images")
            for member, data in CONTENTS.items():
                packed.writestr(member, data)
    with h5py.File(tmp_path / "train-image.hdf5", "w") as file:
        for i, data in enumerate(CONTENTS.values()):
            file[f"ISIC_{i:04}"] = np.void(data)
        file["text"] = np.bytes_(b"ends with zeros\0\0")
        file["bytes"] = np.frombuffer(b"array", np.uint8)
        file.create_dataset("ragged", (), h5py.vlen_dtype(np.uint8))[()] = np.frombuffer(b"ragged", np.uint8)
        file["pixels"] = np.zeros((4, 4, 3), np.uint8)
        file.create_group("folder")
    return tmp_path


def sentence(root, path):
    with pytest.raises(PictureError) as error:
        store.read_bytes(root, path)
    return str(error.value)


@pytest.mark.parametrize("prefix", ["", "stored.zip!/", "packed.ZIP!/"])
def test_the_same_bytes_come_from_a_file_and_from_a_zip(root, prefix):
    for name, data in CONTENTS.items():
        assert store.read_bytes(root, prefix + name) == data
        assert store.exists(root, prefix + name)


def test_every_way_of_keeping_bytes_in_hdf5_is_read(root):
    assert store.read_bytes(root, "train-image.hdf5!/ISIC_0007") == CONTENTS["images/isic_0007.jpg"]
    assert store.read_bytes(root, "train-image.hdf5!/text") == b"ends with zeros\0\0"
    assert store.read_bytes(root, "train-image.hdf5!/bytes") == b"array"
    assert store.read_bytes(root, "train-image.hdf5!/ragged") == b"ragged"
    assert "of shape (4, 4, 3), not the bytes" in sentence(root, "train-image.hdf5!/pixels")
    assert "is a group" in sentence(root, "train-image.hdf5!/folder")


def test_hdf5_that_points_elsewhere_is_a_sentence(root):
    (root / "secret").write_bytes(b"a secret of this machine")
    with h5py.File(root / "links.h5", "w") as file:
        file["soft"], file["away"] = h5py.SoftLink("/nowhere"), h5py.ExternalLink("nowhere.h5", "/x")
        file.create_dataset("outside", (8,), np.uint8, external=[(str(root / "secret"), 0, 8)])
    assert "soft is a link to what is not there" in sentence(root, "links.h5!/soft")
    assert "away is a link to what is not there" in sentence(root, "links.h5!/away")
    assert "outside has its bytes in another file" in sentence(root, "links.h5!/outside")


@pytest.mark.parametrize(
    "path",
    [
        "Images/ISIC_0007.JPG",
        "images\\isic_0007.jpg",
        "images/../images/isic_0007.jpg",
        "STORED.zip!/IMAGES/isic_0007.Jpg",
        "packed.zip!/images\\isic_0007.jpg",
        "Train-Image.HDF5!/isic_0007",
    ],
)
def test_a_second_look_forgives_case_and_backslashes(root, path):
    assert store.read_bytes(root, path) == CONTENTS["images/isic_0007.jpg"]
    assert store.exists(root, path)


def test_a_file_added_after_the_folder_was_listed_is_found(root):
    assert not store.exists(root, "images/new.jpg")
    (root / "images/new.jpg").write_bytes(b"new")
    assert store.exists(root, "images/new.jpg")
    assert store.read_bytes(root, "images/new.jpg") == b"new"


def test_two_names_that_differ_in_case_only_must_be_told_apart(root):
    (root / "images/a.jpg").write_bytes(b"1")
    (root / "images/A.jpg").write_bytes(b"2")
    assert store.read_bytes(root, "images/A.jpg") == b"2"
    assert "could be 'A.jpg' or 'a.jpg': give the exact case" in sentence(root, "images/a.JPG")


def test_what_is_missing_does_not_exist(root):
    for path in ("images/x.jpg", "x/isic_0007.jpg", "stored.zip!/x", "x.zip!/x", "train-image.hdf5!/x", "../x", None):
        assert not store.exists(root, path)
        assert sentence(root, path)


def test_what_is_missing_is_named_with_the_nearest_name(root):
    assert "'isic_0O07.jpg' is not in" in sentence(root, "images/isic_0O07.jpg")
    assert "Nearest: 'isic_0007.jpg'" in sentence(root, "images/isic_0007.jpeg")
    assert "'image' is not in" in sentence(root, "image/isic_0007.jpg")
    assert "Nearest: 'images'" in sentence(root, "image/isic_0007.jpg")
    assert "Nearest: 'images/isic_0007.jpg'" in sentence(root, "stored.zip!/images/isic_0007.png")
    assert "Nearest: 'ISIC_0007'" in sentence(root, "train-image.hdf5!/ISIC_00077")
    assert "isic_0001.jpg is not a folder" in sentence(root, "images/isic_0001.jpg/x")


@pytest.mark.parametrize(
    "path", ["../secret", "images/../../secret", "..\\secret", "images\\..\\..\\secret", "/etc/hosts"]
)
def test_no_path_leads_out_of_the_root(root, path):
    inner = root / "images"
    (root / "secret").write_bytes(b"secret")
    assert "leads out of the image root" in sentence(inner, path)


@pytest.mark.parametrize("path", ["", "  ", "a\0b", None, float("nan"), 3])
def test_what_is_no_path_is_refused(root, path):
    assert "is not a path" in sentence(root, path)


def test_only_plain_files_are_read(root):
    os.mkfifo(root / "pipe.jpg")
    assert "is a folder, not a file" in sentence(root, "images")
    with pytest.raises(PictureError, match="is a device, not a file"):
        store.read_bytes(root, "pipe.jpg")
    assert "is not an archive: `!/` may follow .zip, .hdf5, .h5" in sentence(root, "images/isic_0001.jpg!/x")
    (root / "text.zip").write_text("no zip")
    assert "cannot be opened as zip" in sentence(root, "text.zip!/x")
    (root / "text.h5").write_text("no hdf5")
    assert "cannot be opened as HDF5" in sentence(root, "text.h5!/x")


def test_a_damaged_encrypted_or_oversized_member_is_a_sentence(root, monkeypatch):
    data = bytearray((root / "stored.zip").read_bytes())
    data[data.index(b"\7" * 50)] ^= 1
    (root / "damaged.zip").write_bytes(data)
    assert "is damaged: its length or checksum" in sentence(root, "damaged.zip!/images/isic_0007.jpg")
    data = bytearray((root / "packed.ZIP").read_bytes())
    data[data.rindex(b"images/isic_0000.jpg") - 46 + 8] |= 1  # the flag bits of its entry in the directory
    (root / "encrypted.zip").write_bytes(data)
    with pytest.raises(PictureError, match="is encrypted"):
        store.read_bytes(root, "encrypted.zip!/images/isic_0000.jpg")
    monkeypatch.setattr(names, "MAX_BYTES", 99)
    for path in ("images/isic_0001.jpg", "packed.ZIP!/images/isic_0001.jpg", "train-image.hdf5!/ISIC_0001"):
        with pytest.raises(PictureError, match="has 101 bytes; a picture may have 99"):
            store.read_bytes(root, path)


def test_a_zip_of_a_later_version_is_a_sentence(root):
    data = bytearray((root / "stored.zip").read_bytes())
    data[data.index(b"PK\1\2") + 6] = 99  # the version that is needed to unpack
    (root / "later.zip").write_bytes(data)
    assert "cannot be opened as zip: zip file version 9.9" in sentence(root, "later.zip!/images/isic_0007.jpg")


def test_members_lists_what_may_stand_behind_the_mark(root):
    assert store.members(root / "stored.zip") == list(CONTENTS)
    assert "ISIC_0007" in store.members(root / "train-image.hdf5")
    with pytest.raises(PictureError, match="is not an archive"):
        store.members(root / "images")


def test_an_archive_that_is_packed_again_is_read_again(root):
    assert store.read_bytes(root, "stored.zip!/images/isic_0000.jpg") == b"\0" * 100
    with zipfile.ZipFile(root / "stored.zip", "w") as packed:
        packed.writestr("images/isic_0000.jpg", b"new")
    assert store.read_bytes(root, "stored.zip!/images/isic_0000.jpg") == b"new"


def _read_all(root):
    paths = [("stored.zip!/" + name, data) for name, data in CONTENTS.items()]
    paths += [(f"train-image.hdf5!/ISIC_{i:04}", data) for i, data in enumerate(CONTENTS.values())]
    return all(store.read_bytes(root, path) == data for _ in range(5) for path, data in paths)


def test_threads_and_forked_workers_share_archives_that_are_open_already(root):
    assert _read_all(root)
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(_read_all, [root] * 8))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert all(pool.map(_read_all, [root] * 4))


@pytest.mark.data
def test_the_archives_of_ham10000_and_isic2024_are_read_as_they_were_downloaded(shared_data):
    names = store.members(shared_data / "ham10000_200x150/images.zip")
    assert len([name for name in names if name.endswith(".jpg")]) == 10_015
    assert store.read_bytes(shared_data, f"ham10000_200x150/images.zip!/{names[0]}")[:3] == b"\xff\xd8\xff"
    assert store.read_bytes(shared_data, "isic2024_sample/test-image.hdf5!/isic_0015657")[:3] == b"\xff\xd8\xff"
