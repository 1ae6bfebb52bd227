"""`dermis explain` from a model folder and files to maps on disk."""

import json

import numpy as np
import pytest
from PIL import Image

from dermis.commands.explain import run
from dermis.explain import explain
from dermis.model import load, save
from dermis.pictures.decode import decode


@pytest.fixture
def files(tmp_path, pictures):
    paths = [tmp_path / f"{name}.png" for name in ("a", "b")]
    for path, picture in zip(paths, pictures(2), strict=True):
        Image.fromarray(picture).save(path)
    return [str(path) for path in paths]


def test_maps_of_texts_and_then_a_roll_out_in_their_place(two_tower, files, tmp_path, capsys):
    model, out = str(save(tmp_path / "model", two_tower())), tmp_path / "maps"
    assert run([model, *files, "--text", "a melanoma", "a wart", "--out", str(out)]) == 0
    said = json.loads((out / "maps.json").read_text())
    assert (said["model"], said["kind"], said["texts"]) == (model, "similarity", ["a melanoma", "a wart"])
    assert said["kinds"] == ["similarity", "rollout"]
    assert [(m["picture"], m["text"]) for m in said["maps"]] == [(f, t) for f in files for t in said["texts"]]
    expected = [one for file in files for one in explain(load(model), file, said["texts"])]
    for one, fact in zip(expected, said["maps"], strict=True):
        np.testing.assert_allclose(np.load(out / fact["values"]), one.values, atol=1e-6)
        assert (fact["column"], fact["grid"]) == ("image", [4, 4])
        assert fact["box"] == pytest.approx(one.box, abs=1e-6)
        assert decode((out / fact["overlay"]).read_bytes()).shape[1] > 600
    assert f"4 maps (similarity) in {out}" in capsys.readouterr().out

    assert run([model, f"image={files[1]}", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["01-b.npy", "01-b.png", "maps.json"]
    assert json.loads((out / "maps.json").read_text())["kind"] == "rollout"


def test_a_case_of_two_pictures(pair, files, tmp_path):
    model, out = str(save(tmp_path / "model", pair())), tmp_path / "maps"
    assert run([model, f"image={files[0]}", f"dermoscopy={files[1]}", "--out", str(out)]) == 0
    said = json.loads((out / "maps.json").read_text())
    assert [(m["column"], m["picture"]) for m in said["maps"]] == [("dermoscopy", files[1]), ("image", files[0])]
    for wrong in ([files[0]], [f"image={files[0]}"], [f"image={f}" for f in files], [*files]):
        with pytest.raises(ValueError, match=r"looks at 2 pictures of a case: give dermoscopy=FILE image=FILE, not "):
            run([model, *wrong, "--out", str(out)])


def test_wrong_input_is_a_sentence_and_leaves_what_is_there(two_tower, files, tmp_path):
    model, out = str(save(tmp_path / "model", two_tower(name="test_resnet"))), tmp_path / "maps"
    with pytest.raises(ValueError, match="holds something that is not maps"):
        run([model, files[0], "--text", "a", "--out", str(tmp_path)])
    with pytest.raises(ValueError, match="give at least one picture"):
        run([model, "--out", str(out)])
    assert run([model, files[0], "--text", "a", "--out", str(out)]) == 0
    with pytest.raises(ValueError, match="it can do similarity"):
        run([model, files[0], "--out", str(out)])
    assert json.loads((out / "maps.json").read_text())["kind"] == "similarity"
    assert not list(tmp_path.glob(".writing*"))
