"""Embedding a manifest's pictures: the same numbers with and without cache, and bad pictures told."""

import os

import numpy as np
import pytest
import torch

from dermis.model.cache import VectorCache, picture_key, tower_key
from dermis.model.embed import embed_pictures
from dermis.model.look import evaluation_view
from dermis.pictures.store import read_bytes


def embed(model, pictures, **settings):
    return embed_pictures(model, pictures, quarantine=lambda *_: None, **settings)


def test_vectors_are_those_of_the_evaluation_view(tiny, pictures):
    model = tiny("test_efficientnet")
    vector_ND, ok_N = embed(model, pictures, batch_size=2)
    assert ok_N.tolist() == [True, True, True, False, False, True]
    assert vector_ND.dtype == np.float32
    for row in (0, 1, 2, 5):
        data = read_bytes(pictures.root, pictures.table["image"][row])
        view = torch.from_numpy(evaluation_view(data, model.image.transform))[None]
        with torch.no_grad():
            expected = model.image.features(view).pooled_BD[0]
        torch.testing.assert_close(torch.from_numpy(vector_ND[row]), expected, rtol=1e-4, atol=1e-5)
    assert not vector_ND[3:5].any()


def test_projected_vectors_are_the_heads_of_the_trunks(tiny, pictures):
    model = tiny("test_efficientnet", head="mlp")
    trunk_ND, _ = embed(model, pictures)
    model.train()
    projected_NE, ok_N = embed(model, pictures, stage="projected")
    with torch.no_grad():
        expected = model.project_image(torch.from_numpy(trunk_ND)).numpy()
    np.testing.assert_allclose(projected_NE[ok_N], expected[ok_N], rtol=1e-4, atol=1e-5)
    assert not projected_NE[~ok_N].any()
    assert model.training
    assert model.image.training
    with pytest.raises(ValueError, match="an image tower has no projection"):
        embed(model.image, pictures, stage="projected")
    with pytest.raises(ValueError, match="Did you mean 'projected'"):
        embed(model, pictures, stage="project")


def test_bad_pictures_are_told_with_their_row_and_reason(tiny, pictures, caplog):
    told = {}
    embed_pictures(tiny("test_efficientnet"), pictures, quarantine=told.__setitem__)
    assert sorted(told) == [3, 4]
    embed_pictures(tiny("test_efficientnet"), pictures)
    assert "row 3, 3.jpg: " in caplog.text


def test_progress_counts_every_picture_once(tiny, pictures):
    steps = []
    embed(tiny("test_efficientnet"), pictures, batch_size=4, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(5, 6), (6, 6)]  # four pictures, one of them of two rows


def count_calls(model, monkeypatch):
    calls = []
    features = type(model.image).features
    monkeypatch.setattr(type(model.image), "features", lambda self, x: calls.append(len(x)) or features(self, x))
    return calls


def test_a_cached_picture_is_not_seen_again(tiny, pictures, tmp_path, monkeypatch):
    model = tiny("test_efficientnet")
    calls = count_calls(model, monkeypatch)
    first, _ = embed(model, pictures, cache=tmp_path / "cache")
    again, ok_N = embed(model, pictures, cache=tmp_path / "cache")
    np.testing.assert_array_equal(first, again)
    assert ok_N.tolist() == [True, True, True, False, False, True]
    assert sum(calls) == 3  # the sixth is the first again
    (pictures.root / "1.jpg").write_bytes((pictures.root / "2.jpg").read_bytes())
    changed, _ = embed(model, pictures, cache=tmp_path / "cache")
    assert sum(calls) == 4
    np.testing.assert_allclose(changed[1], first[2], rtol=1e-5, atol=1e-6)


def test_another_head_keeps_the_cache_and_other_weights_or_transforms_do_not(tiny):
    model = tiny("test_efficientnet")
    key = tower_key(model.image)
    model.image_head.weight.data += 1
    assert tower_key(model.image) == key
    assert tower_key(tiny("test_efficientnet").image) != key  # drawn after another seed
    model.image.trunk.bn2.running_mean += 1e-3
    assert tower_key(model.image) != key
    vit = tiny().image
    keys = {tower_key(vit)}
    vit.pool = "token+avg"
    keys.add(tower_key(vit))
    vit.transform = tiny(size=96).image.transform
    keys.add(tower_key(vit))
    vit.trunk.blocks[0].mlp.act = torch.nn.ReLU()  # the same weights, another function
    keys.add(tower_key(vit))
    assert len(keys) == 4


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_a_stopped_run_keeps_what_it_had(tiny, pictures, tmp_path, monkeypatch, how):
    monkeypatch.setattr("dermis.model.cache.PART", 2)
    model = tiny("test_efficientnet")

    def stop(done, _):
        if done >= 3:  # two pictures, of three rows
            if how == "killed":
                monkeypatch.setattr(VectorCache, "flush", lambda self: None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(model, pictures, cache=tmp_path, batch_size=1, progress=stop)
    monkeypatch.undo()
    folder = tmp_path / tower_key(model.image)
    (folder / ".part-1.safetensors").write_bytes(b"half")
    (folder / "part-0.safetensors").write_bytes(b"broken")
    calls = count_calls(model, monkeypatch)
    vector_ND, _ = embed(model, pictures, cache=tmp_path, batch_size=1)
    assert sum(calls) == 1
    np.testing.assert_array_equal(vector_ND, embed(model, pictures, cache=tmp_path)[0])


def test_a_cache_is_shared_between_processes(tmp_path):
    one, two = VectorCache(tmp_path), VectorCache(tmp_path)
    one.add([b"a" * 16], np.ones((1, 3), np.float32))
    two.add([b"b" * 16, b""], np.zeros((2, 3), np.float32))
    one.flush()
    two.flush()
    both = VectorCache(tmp_path)
    assert both[b"b" * 16].tolist() == [0, 0, 0]
    assert both[b"a" * 16].tolist() == [1, 1, 1]
    assert b"" not in both


def test_a_picture_is_known_by_place_size_and_time(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"12")
    key = picture_key(tmp_path, "a.jpg")
    assert picture_key(tmp_path, "a.jpg") == key != b""
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    assert picture_key(tmp_path, "a.jpg") != key
    assert picture_key(tmp_path, "b.jpg") == picture_key(tmp_path, None) == b""
    assert picture_key(tmp_path, "A.JPG") != b""  # found by its content, as it is not at this spelling
