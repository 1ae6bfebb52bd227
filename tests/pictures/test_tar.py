"""Members of a tar come by offset: what Python's tarfile reads, with an index, without one, and with a wrong one."""

import io
import shutil
import tarfile

import numpy as np
import pytest

from dermis.pictures import PictureError, store
from dermis.pictures.tar import INDEX, index_of, open_tar

CONTENTS = {f"images/Größe {i:03}.jpg": bytes([i]) * (i * 37) for i in range(60)}


@pytest.fixture(params=[tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def packed(tmp_path, request):
    with tarfile.open(tmp_path / "set.tar", "w", format=request.param) as tar:
        folder = tarfile.TarInfo("images")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in CONTENTS.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return tmp_path


def with_index(folder):
    with tarfile.open(folder / "set.tar") as tar:
        members = [m for m in tar if m.isreg()]
    np.save(folder / f"set.tar{INDEX}", index_of([(m.name, m.offset_data, m.size) for m in members]))
    return folder


def read_all(folder):
    return {name: store.read_bytes(folder, f"set.tar!/{name}") for name in CONTENTS}


def test_with_and_without_an_index_the_bytes_are_tarfiles(packed):
    assert read_all(packed) == CONTENTS
    assert not isinstance(open_tar(str(packed / "set.tar")).index, np.memmap)
    shutil.copy(packed / "set.tar", packed / "other.tar")  # a tar that was opened before stays as it was opened
    (with_index(packed) / f"set.tar{INDEX}").rename(packed / f"other.tar{INDEX}")
    assert isinstance(open_tar(str(packed / "other.tar")).index, np.memmap)
    assert {n: store.read_bytes(packed, f"other.tar!/{n}") for n in CONTENTS} == CONTENTS
    assert sorted(store.members(packed / "other.tar")) == sorted(CONTENTS)


def test_a_second_look_forgives_case_and_names_the_nearest(packed):
    assert store.read_bytes(packed, "set.tar!/IMAGES\\größe 007.JPG") == CONTENTS["images/Größe 007.jpg"]
    with pytest.raises(PictureError, match=r"'images/Größe 99\.jpg' is not in .* Nearest: 'images/Größe 0"):
        store.read_bytes(packed, "set.tar!/images/Größe 99.jpg")
    assert not store.exists(packed, "set.tar!/images/Größe 99.jpg")


@pytest.mark.parametrize("wrong", ["of another tar", "no array", "cut"])
def test_an_index_that_is_not_this_tars_is_not_believed(packed, wrong):
    path = with_index(packed) / f"set.tar{INDEX}"
    if wrong == "of another tar":
        np.save(path, index_of([("images/Größe 001.jpg", 10**6, 37)]))
    else:
        path.write_bytes(b"x" * 999 if wrong == "no array" else path.read_bytes()[:1000])
    assert read_all(packed) == CONTENTS


def test_an_index_of_a_tar_as_long_with_other_names_and_what_is_no_tar_are_sentences(tmp_path):
    for name, members in (("set", "abc"), ("other", "bca")):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for letter in members:
                member = tarfile.TarInfo(f"{letter}.jpg")
                member.size = 9
                tar.addfile(member, io.BytesIO(letter.encode() * 9))
    rows = [(f"{letter}.jpg", 512 + 1024 * i, 9) for i, letter in enumerate("abc")]
    np.save(tmp_path / f"set.tar{INDEX}", index_of(rows))
    np.save(tmp_path / f"other.tar{INDEX}", index_of(rows))
    assert [store.read_bytes(tmp_path, f"set.tar!/{letter}.jpg") for letter in "abc"] == [b"a" * 9, b"b" * 9, b"c" * 9]
    with pytest.raises(PictureError, match=r"a\.jpg is not where the tar's index says"):
        store.read_bytes(tmp_path, "other.tar!/a.jpg")
    (tmp_path / "none.tar").write_bytes(b"no tar at all" * 99)
    with pytest.raises(PictureError, match="cannot be opened as tar"):
        store.read_bytes(tmp_path, "none.tar!/x")


def pack(place, members, **options):
    with tarfile.open(place, "w", **options) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_of_members_with_one_name_the_last_is_read_as_tar_unpacks_it(tmp_path):
    pack(tmp_path / "set.tar", [("a.jpg", b"old"), ("b.jpg", b"b"), ("a.jpg", b"newer")])
    assert store.read_bytes(tmp_path, "set.tar!/a.jpg") == b"newer"
    assert store.members(tmp_path / "set.tar") == ["a.jpg", "b.jpg"]


def test_a_name_in_another_coding_can_be_written_down_and_harms_no_other(tmp_path):
    pack(tmp_path / "set.tar", [("müller.jpg", b"1"), ("a.jpg", b"2")], format=tarfile.USTAR_FORMAT, encoding="latin-1")
    assert store.read_bytes(tmp_path, "set.tar!/a.jpg") == b"2"
    assert store.members(tmp_path / "set.tar") == ["a.jpg", r"m\xfcller.jpg"]
    assert store.read_bytes(tmp_path, r"set.tar!/m\xfcller.jpg") == b"1"
    assert not store.exists(tmp_path, "set.tar!/\udcfc.jpg")


@pytest.mark.parametrize("row", [(b"a.jpg", -5000, 10), (b"a.jpg", 600, -700)])
def test_an_index_that_points_before_the_tar_is_not_believed(tmp_path, row):
    pack(tmp_path / "set.tar", [("a.jpg", b"1"), ("b.jpg", b"2")])
    kinds = [("name", "S5"), ("offset", "<i8"), ("bytes", "<i8")]
    np.save(tmp_path / f"set.tar{INDEX}", np.array([row, (b"b.jpg", 1536, 1)], dtype=kinds))
    assert store.read_bytes(tmp_path, "set.tar!/a.jpg") == b"1"
