"""The folder of embeddings: what is in it, going on after an interruption, growing, and what it refuses."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

import dermis
from dermis.cases.manifest import Manifest
from dermis.model.embed import embed_cases
from dermis.search.embedding import write_embeddings
from dermis.search.encoder import Encoder
from dermis.search.folder import Embeddings
from dermis.search.parts import Parts
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches


def embed(folder, model, manifest, **settings):
    return write_embeddings(folder, model, manifest, source="hf-hub:some/where", batch_size=3, **settings)


def expected(model, manifest, stage="projected"):
    return embed_cases(model, manifest, stage=stage)[0]


def test_the_folder_holds_vectors_lengths_and_cases_row_by_row(tiny, manifest, tmp_path, counted):
    model, steps = tiny(), []
    written = embed(tmp_path / "e", model, manifest, progress=lambda *step: steps.append(step))
    assert (written.new, written.left_out, sum(counted["embedded"])) == (9, {}, 9)  # the tenth is the first again
    assert steps[-1] == (10, 10)
    vector_ND = np.load(tmp_path / "e" / "vectors.npy", mmap_mode="r")
    assert isinstance(vector_ND, np.memmap)
    np.testing.assert_allclose(vector_ND, expected(model, manifest), rtol=1e-4, atol=1e-5)
    found = Embeddings.open(tmp_path / "e")
    assert isinstance(found.vectors, np.memmap)
    np.testing.assert_allclose(found.lengths, np.linalg.norm(vector_ND, axis=1), rtol=1e-6)
    pd.testing.assert_frame_equal(found.cases.table, manifest.table)
    assert os.path.abspath(found.cases.root) == str(manifest.root)
    assert (found.facts["stage"], found.facts["columns"]) == ("projected", ["image"])
    assert found.facts["transform"]["image"]["size"] == [32, 32]
    assert sorted(os.listdir(tmp_path)) == ["cases.parquet", "cases.schema.json", "e", "pictures"]
    assert "unfinished" not in os.listdir(tmp_path / "e")


def test_trunk_vectors(tiny, manifest, tmp_path):
    written = embed(tmp_path / "e", tiny(), manifest, stage="trunk")
    np.testing.assert_allclose(written.embeddings.vectors, expected(tiny(), manifest, "trunk"), rtol=1e-4, atol=1e-5)


def test_an_interrupted_run_goes_on(tiny, manifest, tmp_path, counted, monkeypatch):
    model, encode, calls = tiny(), Encoder.encode, []

    def dying(self, column, view_BCHW):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, column, view_BCHW)

    monkeypatch.setattr(Encoder, "encode", dying)
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path / "e", model, manifest)
    with pytest.raises(ValueError, match="An interrupted run began there: run it again"):
        Embeddings.open(tmp_path / "e")
    done = {f"{i}.png" for i in range(6)}
    assert sum(counted["embedded"]) == 6
    counted["opened"].clear()
    written = embed(tmp_path / "e", model, manifest)
    assert sorted(counted["opened"]) == ["6.png", "7.png", "8.png", "9.png"]
    assert not done & set(counted["opened"])
    assert (written.new, sum(counted["embedded"])) == (3, 9)
    np.testing.assert_allclose(written.embeddings.vectors, expected(model, manifest), rtol=1e-4, atol=1e-5)


def test_a_second_run_opens_nothing_and_writes_nothing(tiny, manifest, tmp_path, counted):
    embed(tmp_path / "e", tiny(), manifest)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "e").iterdir()}
    counted["opened"].clear()
    assert embed(tmp_path / "e", tiny(), manifest).new == 0
    assert not counted["opened"]
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "e").iterdir()} == before


def test_of_a_grown_and_reordered_manifest_only_new_pictures_are_embedded(tiny, manifest, tmp_path, counted):
    some = manifest.select([7, 2, 0])
    embed(tmp_path / "e", tiny(), some)
    counted["opened"].clear()
    written = embed(tmp_path / "e", tiny(), manifest)
    assert not {"7.png", "2.png", "0.png"} & set(counted["opened"])
    assert (written.new, len(written.embeddings)) == (6, 10)
    np.testing.assert_allclose(written.embeddings.vectors, expected(tiny(), manifest), rtol=1e-4, atol=1e-5)


def test_what_was_learnt_of_the_cases_is_written_without_opening_a_picture(tiny, manifest, tmp_path, counted):
    embed(tmp_path / "e", tiny(), manifest)
    counted["opened"].clear()
    table = manifest.table.assign(diagnosis="nevus")
    written = embed(tmp_path / "e", tiny(), Manifest.build(table, manifest.root))
    assert not counted["opened"]
    assert set(written.embeddings.cases.table["diagnosis"]) == {"nevus"}


def test_changed_bytes_are_embedded_anew_and_moved_ones_are_not(tiny, manifest, tmp_path, counted):
    embed(tmp_path / "e", tiny(), manifest)
    file = manifest.root / "4.png"
    state = file.stat()
    other = (manifest.root / "5.png").read_bytes() + b" "  # 5's picture, other bytes
    file.write_bytes(other[: state.st_size].ljust(state.st_size, b" ") if len(other) <= state.st_size else other)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a copying program leaves it
    written = embed(tmp_path / "e", tiny(), manifest)
    assert written.new == 1
    assert counted["opened"][10:] == ["4.png"]
    found = written.embeddings.vectors
    np.testing.assert_allclose(found[4], found[5], rtol=1e-4, atol=1e-5)
    shutil.copytree(manifest.root, tmp_path / "moved")
    moved = Manifest.build(manifest.table, tmp_path / "moved")
    counted["opened"].clear()
    assert embed(tmp_path / "e", tiny(), moved).new == 0
    assert len(counted["opened"]) == 10  # read, to know that they are the same


def test_bad_pictures_are_left_out_with_their_reason(tiny, manifest, tmp_path):
    (manifest.root / "3.png").write_text("no picture")
    (manifest.root / "5.png").unlink()
    table = manifest.table.copy()
    table.loc[7, "image"] = "3.png"
    written = embed(tmp_path / "e", tiny(), Manifest.build(table, manifest.root))
    assert sorted(written.left_out) == [3, 5, 7]
    assert written.left_out[3] == written.left_out[7]
    assert "5.png" in written.left_out[5]
    assert written.embeddings.cases.table["case_id"].tolist() == ["c0", "c1", "c2", "c4", "c6", "c8", "c9"]
    with pytest.raises(ValueError, match="no picture can be read; the first: "):
        embed(tmp_path / "none", tiny(), Manifest.build(table, tmp_path))


def test_a_model_of_two_pictures(tmp_path):
    manifest = dermis.make_cases(tmp_path / "pairs", cases=4, size=32, seed=4)
    (manifest.root / manifest.table["dermoscopy"][1]).write_text("no picture")
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), paired=True), 3)
    written = embed(tmp_path / "e", model, manifest)
    vector_ND, ok_N = embed_cases(model, manifest)
    assert list(written.left_out) == [1]
    np.testing.assert_allclose(written.embeddings.vectors, vector_ND[ok_N], rtol=1e-4, atol=1e-5)
    assert embed(tmp_path / "e", model, manifest).new == 0


def test_a_folder_of_another_model_is_refused(tiny, manifest, tmp_path, monkeypatch):
    embed(tmp_path / "e", tiny(), manifest)
    for other, settings in ((tiny(2), {}), (tiny(), {"stage": "trunk"})):
        with pytest.raises(ValueError, match=r"holds embeddings of model .* other weights, stage"):
            embed(tmp_path / "e", other, manifest, **settings)
    monkeypatch.setattr(Encoder, "encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        embed(tmp_path / "unfinished", tiny(), manifest)
    (tmp_path / "begun" / "unfinished" / "0123456789abcdef").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds embeddings of model 0123456789ab… and this one is"):
        embed(tmp_path / "begun", tiny(), manifest)


def test_what_is_no_folder_of_embeddings_is_refused(tiny, manifest, tmp_path):
    with pytest.raises(ValueError, match="holds something that is no embeddings"):
        embed(manifest.root, tiny(), manifest)
    with pytest.raises(ValueError, match="is a file; choose another name"):
        embed(tmp_path / "cases.parquet", tiny(), manifest)
    with pytest.raises(ValueError, match="make them with `dermis embed MODEL MANIFEST`"):
        Embeddings.open(tmp_path / "nowhere")


def test_a_folder_that_was_set_aside_is_found_again(tiny, manifest, tmp_path, counted):
    embed(tmp_path / "e", tiny(), manifest)
    (tmp_path / "e").rename(tmp_path / ".before-e")  # died between two renames
    assert embed(tmp_path / "e", tiny(), manifest).new == 0
    assert not (tmp_path / ".before-e").exists()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"format": 99}, "which is newer; upgrade dermis"),
        ({"count": 9}, r"vectors.npy is float32 \(10, 12\) and must be float32 \(9, 12\)"),
        ({"key": 3}, "key is missing or of the wrong kind"),
    ],
)
def test_broken_facts_are_a_sentence(tiny, manifest, tmp_path, change, sentence):
    embed(tmp_path / "e", tiny(), manifest)
    path = tmp_path / "e" / "embeddings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=sentence):
        Embeddings.open(tmp_path / "e")


def test_broken_files_are_a_sentence(tiny, manifest, tmp_path):
    embed(tmp_path / "e", tiny(), manifest)
    (tmp_path / "e" / "vectors.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match="cannot be read"):
        Embeddings.open(tmp_path / "e")
    (tmp_path / "e" / "embeddings.json").write_text("[]")
    with pytest.raises(ValueError, match="cannot be read"):
        Embeddings.open(tmp_path / "e")


@pytest.mark.parametrize("limit, value", [("PART", 1), ("SECONDS", -1.0)])
def test_parts_are_written_as_they_come(tmp_path, monkeypatch, limit, value):
    """What a run that is killed, and cannot tidy up, leaves."""
    parts, names = Parts(tmp_path), [bytes([i + 1]) * 16 for i in range(4)]
    assert names[1] not in Parts(tmp_path)
    monkeypatch.setattr(f"dermis.search.parts.{limit}", value)
    parts.add(names[0], names[1], np.array([1, 2], np.float32))
    assert names[1] in Parts(tmp_path)


def test_parts_come_back_and_a_broken_one_is_forgotten(tmp_path):
    names = [bytes([i + 1]) * 16 for i in range(4)]
    parts = Parts(tmp_path)
    parts.add(names[0], names[1], np.array([1, 2], np.float32))
    parts.flush()
    parts.add(names[2], names[1])  # another place, the same bytes
    parts.flush()
    parts.add(b"", names[3], np.array([3, 4], np.float32))
    parts.flush()
    again = Parts(tmp_path)
    assert again.content == {names[0]: names[1], names[2]: names[1]}
    out_ND = np.zeros((3, 2), np.float32)
    again.fill(out_ND, [names[3], names[1], names[3]])
    assert out_ND.tolist() == [[3, 4], [1, 2], [3, 4]]
    sorted(tmp_path.glob("part-*"))[0].write_bytes(b"broken")
    assert names[1] not in Parts(tmp_path)
    assert names[3] in Parts(tmp_path)
