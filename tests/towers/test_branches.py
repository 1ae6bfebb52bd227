"""Branches and what is built on them: heads as loops, parts that a saved model knows again, weights to start from."""

import numpy as np
import pytest
import torch

import dermis
from dermis.cases.synthetic import make_cases
from dermis.cli import main
from dermis.experiment import experiment_of
from dermis.model import load, save
from dermis.model.embed import embed_cases, embed_pictures
from dermis.run import build_method
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches, build_image_tower
from dermis.towers.label_heads import RELATIONS, LabelHeads
from dermis.towers.projection import PairHeads, projection

CLASSES = {"diagnosis": ["a", "b", "c"], "finding.x": ["absent", "present"]}


def small(paired=True, **settings) -> Branches:
    return build_branches(
        BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), paired=paired, **settings), 3
    )


def test_a_transformer_layer_over_the_labels_as_loops():
    """One head, post-norm, ReLU: the sequence is the labels of one case."""
    torch.manual_seed(0)
    heads = LabelHeads({"image": 5}, [2, 3, 4], relation="tel", width=6, feedforward=7, dropout=0.0).double()
    h = torch.randn(3, 5).double()
    layer, e = heads.mixer, []
    for b in range(3):
        p = [project(h[b]) for project in heads.projections]
        weight, bias = layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
        query, key, value = ([w @ x + c for x in p] for w, c in zip(weight.chunk(3), bias.chunk(3), strict=True))
        rows = []
        for i in range(3):
            score = torch.stack([query[i] @ key[j] / 6**0.5 for j in range(3)]).exp()
            mixed = sum(score[j] / score.sum() * value[j] for j in range(3))
            x = normed(p[i] + layer.self_attn.out_proj(mixed), layer.norm1)
            rows.append(normed(x + layer.linear2(torch.relu(layer.linear1(x))), layer.norm2))
        e.append(torch.stack(rows))
    torch.testing.assert_close(heads.embed(h), torch.stack(e), rtol=0, atol=1e-9)
    expected = [
        torch.stack([head.weight @ e[b][k] + head.bias for b in range(3)]) for k, head in enumerate(heads.heads)
    ]
    for ours, theirs in zip(heads(h), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def normed(x, norm):
    return (x - x.mean()) / (x.var(unbiased=False) + norm.eps).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_relation_treats_cases_apart_and_lets_labels_meet_or_not(relation):
    torch.manual_seed(0)
    heads = LabelHeads({"image": 5}, [2, 3], relation=relation, width=6, layers=2).eval()
    h = torch.randn(4, 5)
    torch.testing.assert_close(heads(h)[1][2:3], heads(h[2:3])[1])
    if relation == "no_proj":
        torch.testing.assert_close(heads(h)[0], heads.heads[0](h))
        return
    before = heads(h)[1].clone()
    with torch.no_grad():
        heads.projections[0].weight.add_(1.0)
    assert torch.equal(heads(h)[1], before) == (relation in ("proj", "mlp"))


def test_heads_of_the_papers():
    simclr, released, moco = (projection(kind, 8, 4) for kind in ("simclr", "simclr-released", "moco"))
    assert [type(m).__name__ for m in released].count("BatchNorm1d") == 3
    assert not released[-1].affine
    assert sum(p.numel() for p in released.parameters()) == 2 * 64 + 2 * 16 + 32
    assert [type(m).__name__ for m in simclr] == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert [type(m).__name__ for m in moco] == ["Linear", "ReLU", "Linear"]
    with pytest.raises(ValueError, match="Did you mean 'simclr'"):
        projection("simcl", 8, 4)


def test_a_shared_pair_head_is_one_and_asks_for_equal_widths():
    shared, apart = (PairHeads({"dermoscopy": 6, "image": 6}, width=4, shared=s).eval() for s in (True, False))
    h = torch.randn(3, 6)
    assert torch.equal(shared("image", h), shared("dermoscopy", h))
    assert not torch.equal(apart("image", h), apart("dermoscopy", h))
    with pytest.raises(ValueError, match="towers of equal width"):
        PairHeads({"dermoscopy": 6, "image": 5}, shared=True)


@pytest.mark.parametrize("paired", [True, False])
def test_a_saved_model_has_its_parts_again(tmp_path, paired):
    model = small(paired)
    model.add("labels", classes=CLASSES, relation="tel", width=16)
    if paired:
        model.add("pair", width=8, shared=False)
    again = load(save(tmp_path / "model", model))
    assert again.pictures == model.pictures
    assert again.predicting.classes == CLASSES
    assert again.state_dict().keys() == model.state_dict().keys()
    views = {name: torch.randn(2, 3, 32, 32) for name in model.pictures}
    h = model.eval().encode_case(views)
    torch.testing.assert_close(again.encode_case(views), h)
    for name, p in again.predict(h).items():
        torch.testing.assert_close(p, model.predict(h)[name])
    card = (tmp_path / "model" / "README.md").read_text()
    assert "predicts diagnosis: a, b, c" in card
    assert "image tower: test_vit" in card
    # a saved model starts another one, which has its parts
    other = small(paired, weights=f"local-dir:{tmp_path / 'model'}").eval()
    torch.testing.assert_close(other.encode_case(views), h)
    assert other.settings == model.settings
    for name, p in other.predict(h).items():
        torch.testing.assert_close(p, model.predict(h)[name])


def test_a_method_keeps_the_parts_that_it_goes_on_from(tmp_path):
    """SM3's second stage reaches a classifier by the recipe; what a method does not know goes, with its settings."""
    torch.manual_seed(7)  # not the recipe's, or new heads would be the old ones
    model = small()
    heads = model.add("labels", classes=[3, 2], relation="tel", width=8, feedforward=4)
    model.add("pair", width=8, shared=False)
    save(tmp_path / "model", model)
    start = {"weights": f"local-dir:{tmp_path / 'model'}", "image": {"name": "test_vit", "size": 32}}
    tel = {"targets": CLASSES, "relation": "tel", "width": 8, "feedforward": 4}

    def trained(method):
        return build_method(experiment_of({"name": "x", "model": start, "method": method}))

    for new_heads in (False, True):
        page = trained({"name": "multi_label", **tel, "new_heads": new_heads})
        assert set(page.model.parts) == set(page.model.settings) == {"labels"}
        own = page.model.parts["labels"]
        for name, tensor in ((n, t) for n, t in heads.state_dict().items() if "bias" not in n):
            goes_on = not (new_heads and name.startswith("heads."))
            assert torch.equal(own.state_dict()[name], tensor) == goes_on, name
    assert not trained({"name": "simclr"}).model.parts
    assert set(trained({"name": "sm3"}).model.parts) == {"pair"}


def test_weights_are_of_a_model_of_such_towers(tmp_path):
    tower = build_image_tower(ImageTowerConfig(name="test_vit", size=32))
    with pytest.raises(ValueError, match=r"wants a model of towers side by side, and .* is image_tower"):
        small(weights=f"local-dir:{save(tmp_path / 'tower', tower)}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"is no model of dermis \(it has no dermis.json\)"):
        small(weights=f"local-dir:{tmp_path / 'empty'}")


def test_a_model_without_taught_heads_predicts_nothing():
    model = small()
    with pytest.raises(ValueError, match="this model predicts no labels"):
        model.predict(torch.zeros(1, model.dim))
    model.add("labels", classes=[2, 3])
    assert model.predicting is None
    with pytest.raises(ValueError, match="clusters only"):
        model.predict(torch.zeros(1, model.dim))
    with pytest.raises(ValueError, match="Did you mean 'labels'"):
        model.add("label", classes=[2])
    with pytest.raises(ValueError, match="Did you mean 'tel'"):
        model.add("labels", classes=[2], relation="tell")
    with pytest.raises(ValueError, match="3 does not divide 512"):
        model.add("labels", classes=[2], heads=3)


def test_cases_are_embedded_by_both_towers(tmp_path):
    manifest = make_cases(tmp_path, cases=3, size=32, seed=4)
    (tmp_path / manifest.table["dermoscopy"][1]).write_bytes(b"no picture")
    model = small().eval()
    vector_ND, ok_N = embed_cases(model, manifest, quarantine=lambda *_: None)
    assert ok_N.tolist() == [True, False, True]
    assert not vector_ND[1].any()
    for place, name in enumerate(model.pictures):
        own, _ = embed_pictures(model.picture_towers[name], manifest, column=name, quarantine=lambda *_: None)
        part = vector_ND[:, place * model.dims[name] : (place + 1) * model.dims[name]]
        torch.testing.assert_close(torch.tensor(part[ok_N]), torch.tensor(own[ok_N]))


def test_frozen_towers_stay_in_evaluation_mode():
    model = small()
    model.picture_towers["image"].requires_grad_(False)
    model.train()
    assert not model.picture_towers["image"].training
    assert model.picture_towers["dermoscopy"].training


def test_one_case_is_asked_with_its_two_pictures(tmp_path):
    manifest = make_cases(tmp_path, cases=2, size=32, seed=4)
    model = small()
    model.add("labels", classes=CLASSES, relation="no_proj")
    paths = {name: tmp_path / manifest.table[name][1] for name in model.pictures}
    said = dermis.predict_labels(model, **paths)
    vector_ND, _ = embed_cases(model, manifest)
    expected = model.eval().predict(torch.from_numpy(vector_ND[1:]))
    for label, classes in CLASSES.items():
        assert list(said[label].values()) == sorted(said[label].values(), reverse=True)
        own = dict(zip(classes, expected[label][0].tolist(), strict=True))
        assert said[label] == pytest.approx(own, abs=1e-5)
    with pytest.raises(ValueError, match="looks at dermoscopy and image; given: image"):
        dermis.predict_labels(model, image=paths["image"])


def test_embeddings_of_pairs_from_the_command_line(tmp_path):
    manifest = make_cases(tmp_path, cases=3, size=32, seed=4)
    folder = save(tmp_path / "model", small())
    arguments = ["embed", str(folder), str(tmp_path / "cases.parquet"), "--out", str(tmp_path / "embeddings")]
    for more, status in (([], 0), (["--stage", "projected"], 2), (["--stage", "trunk", "--column", "dermoscopy"], 2)):
        with pytest.raises(SystemExit) as end:
            main([*arguments, *more])
        assert end.value.code == status
    vector_ND, _ = embed_cases(load(folder), manifest)
    np.testing.assert_allclose(np.load(tmp_path / "embeddings" / "vectors.npy"), vector_ND, atol=1e-5)
