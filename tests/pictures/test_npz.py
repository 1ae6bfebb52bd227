"""Rows of NumPy archives are pictures, read by offset where they can be, and nothing in them is unpickled."""

import multiprocessing
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dermis.pictures import PictureError, npz, store
from dermis.pictures.decode import decode
from dermis.pictures.names import Names

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 12, 10, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (3, 12, 10), dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    arrays = {
        "train_images": COLOUR,
        "train_labels": np.zeros((5, 1), np.uint8),
        "grey": GREY,
        "one_channel": GREY[..., None],
        "fortran": np.asfortranarray(COLOUR),
        "floats": COLOUR / 255,
        "features": np.zeros((5, 12, 10, 7), np.uint8),
    }
    np.savez(tmp_path / "stored.npz", **arrays)
    np.savez_compressed(tmp_path / "deflated.npz", **arrays)
    return tmp_path


def sentence(root, path):
    with pytest.raises(PictureError) as error:
        store.read_bytes(root, path)
    return str(error.value)


@pytest.mark.parametrize("name", ["stored.npz", "deflated.npz"])
def test_a_row_comes_as_the_same_pixels(root, name):
    for i in range(5):
        np.testing.assert_array_equal(decode(store.read_bytes(root, f"{name}!/train_images/{i}")), COLOUR[i])
        np.testing.assert_array_equal(decode(store.read_bytes(root, f"{name}!/fortran/{i}")), COLOUR[i])
    for array in ("grey", "one_channel"):
        np.testing.assert_array_equal(decode(store.read_bytes(root, f"{name}!/{array}/2")), np.stack([GREY[2]] * 3, -1))


def test_members_are_the_rows_of_arrays_of_pictures_and_no_array_is_read_for_them(root, monkeypatch):
    monkeypatch.setattr(np.lib.format, "read_array", None)
    members = store.members(root / "deflated.npz")
    assert members == [
        f"{array}/{i}"
        for array, rows in (("train_images", 5), ("grey", 3), ("one_channel", 3), ("fortran", 5))
        for i in range(rows)
    ]
    assert store.exists(root, "deflated.npz!/train_images/4")


def test_a_stored_array_is_read_row_by_row(root, monkeypatch):
    monkeypatch.setattr(np.lib.format, "read_array", None)
    assert store.read_bytes(root, "stored.npz!/train_images/4")
    with pytest.raises(TypeError):
        store.read_bytes(root, "stored.npz!/fortran/4")  # whose rows lie scattered


def test_a_deflated_array_is_unpacked_once_also_for_many_threads(root, monkeypatch):
    calls, read = [], np.lib.format.read_array
    monkeypatch.setattr(np.lib.format, "read_array", lambda *a, **k: calls.append(1) or read(*a, **k))
    paths = [f"deflated.npz!/train_images/{i % 5}" for i in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda path: store.read_bytes(root, path), paths))
    assert len(calls) == 1


def test_what_is_no_row_is_named_with_the_nearest(root):
    assert "'train_image/3' is not in" in sentence(root, "stored.npz!/train_image/3")
    assert "Nearest: 'train_images/3'" in sentence(root, "stored.npz!/train_image/3")
    for path in ("train_images/5", "train_images/-1", "train_images/03", "train_images", "train_labels/0", "floats/0"):
        assert not store.exists(root, f"stored.npz!/{path}")
        assert sentence(root, f"stored.npz!/{path}")
    assert store.exists(root, "STORED.npz!/Train_Images/3")
    assert isinstance(npz.open_npz(str(root / "stored.npz"), (0, 0)).names, Names)


def test_pickles_are_never_opened(root):
    np.savez(root / "objects.npz", images=np.array([[[{"a": 1}]]], dtype=object), pictures=COLOUR)
    assert store.members(root / "objects.npz") == [f"pictures/{i}" for i in range(5)]
    assert "is not in" in sentence(root, "objects.npz!/images/0")


def test_damage_is_a_sentence(root):
    np.savez_compressed(root / "large.npz", images=RNG.integers(0, 256, (50, 40, 40, 3), dtype=np.uint8))
    data = bytearray((root / "large.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (root / "large.npz").write_bytes(data)
    assert "large.npz!/images is damaged" in sentence(root, "large.npz!/images/0")
    (root / "text.npz").write_text("no archive")
    assert "cannot be opened as npz" in sentence(root, "text.npz!/a/0")
    with zipfile.ZipFile(root / "short.npz", "w") as archive, zipfile.ZipFile(root / "stored.npz") as whole:
        archive.writestr("a.npy", whole.read("train_images.npy")[:-1])
        archive.writestr("b.npy", b"no array")
    assert "a.npy is damaged: its length is not the one in its header" in sentence(root, "short.npz!/a/0")
    with zipfile.ZipFile(root / "none.npz", "w") as archive:
        archive.writestr("b.npy", b"no array")
    assert "b.npy is no array" in sentence(root, "none.npz!/b/0")


@pytest.mark.parametrize(("at", "value"), [(6, 1), (8, 97)])  # encrypted; packed in a way that is not known
def test_what_zipfile_cannot_unpack_is_a_sentence(root, at, value):
    data = bytearray((root / "stored.npz").read_bytes())
    for header, shift in ((b"PK\3\4", 0), (b"PK\1\2", 2)):
        data[data.index(header) + at + shift] |= value
    (root / "odd.npz").write_bytes(data)
    assert "train_images.npy cannot be unpacked" in sentence(root, "odd.npz!/grey/0")


def test_no_pixels_and_rows_without_end_are_no_members(root):
    np.savez(root / "empty.npz", images=np.zeros((3, 0, 5), np.uint8))
    assert "is not in" in sentence(root, "empty.npz!/images/0")
    assert not store.exists(root, f"stored.npz!/grey/{'1' * 5000}")


def test_a_deflated_array_may_only_be_so_large(root, monkeypatch):
    monkeypatch.setattr(npz, "MAX_HELD", 1000)
    assert "may be. Save it again with numpy.savez" in sentence(root, "deflated.npz!/train_images/0")
    assert store.read_bytes(root, "stored.npz!/train_images/0")


def test_forked_workers_read_what_is_open_already(root):
    paths = [f"{name}!/train_images/{i}" for name in ("stored.npz", "deflated.npz") for i in range(5)]
    here = [store.read_bytes(root, path) for path in paths]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.starmap(store.read_bytes, [(root, path) for path in paths]) == here
