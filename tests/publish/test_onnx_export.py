"""The graphs say what the model says, for any batch; one that does not is never published."""

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dermis.model.look import evaluation_view
from dermis.model.use import encode_pictures, encode_texts
from dermis.publish import onnx_export
from dermis.publish.onnx_export import write_graphs
from dermis.publish.preprocessing import preprocessing
from dermis.towers.text import PaddedTextTower
from dermis.towers.two_tower import TwoTower

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def two_tower(two_tower):
    """With one block, which is exported faster than six."""
    shallow = deepcopy(two_tower)
    shallow.image.trunk.blocks = shallow.image.trunk.blocks[:1]
    return shallow


@pytest.fixture(scope="module")
def written(two_tower, tower, tmp_path_factory):
    """Each model's folder of graphs with what was said of them; an export takes seconds, so no test makes another."""
    folder = tmp_path_factory.mktemp("graphs")
    models = {"two_tower": two_tower, "tower": tower}
    return {name: (folder / name, *write_graphs(model, folder / name)) for name, model in models.items()}


@pytest.fixture
def unexported(monkeypatch):
    """Nothing is exported; the graphs that would have been, by the names of their files."""
    asked = {}
    monkeypatch.setattr(onnx_export, "_write", lambda graph, path, *_: asked.setdefault(path.name, graph))
    return asked


def run(path, **given):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: np.asarray(value) for name, value in given.items()})
    return dict(zip([out.name for out in session.get_outputs()], found, strict=True))


@pytest.mark.parametrize("batch", [1, 5])
def test_a_vit_and_its_projection(two_tower, written, batch):
    image_BCHW = torch.randn(batch, 3, 32, 32)
    found = run(written["two_tower"][0] / "image.onnx", image=image_BCHW)
    with torch.no_grad():
        pooled_BD = two_tower.image.features(image_BCHW).pooled_BD
        np.testing.assert_allclose(found["pooled"], pooled_BD, atol=1e-5)
        np.testing.assert_allclose(found["image_embedding"], two_tower.encode_image(image_BCHW), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 5])
def test_a_residual_network(tower, written, batch):
    image_BCHW = torch.randn(batch, 3, 48, 48)
    found = run(written["tower"][0] / "image.onnx", image=image_BCHW)
    assert list(found) == ["pooled"]
    with torch.no_grad():
        np.testing.assert_allclose(found["pooled"], tower.features(image_BCHW).pooled_BD, atol=1e-5)


def test_each_picture_of_a_case_has_its_tower_and_what_has_no_graph_is_said(branches, unexported, tmp_path):
    _, left_out = write_graphs(branches, tmp_path)
    assert set(unexported) == {"image.onnx", "dermoscopy.onnx"}
    for column, tower in branches.picture_towers.items():
        assert unexported[f"{column}.onnx"].tower is tower
    assert left_out == ["what is built on the towers (labels): the graphs end at pooled features."]


def test_padded_texts_are_the_ragged_ones_whatever_the_padding_is(two_tower, written):
    texts = ["nevus", "a melanoma on the back of a man", "", "wart"]
    ids = two_tower.text.tokenizer(texts)
    for padding in (0, 7):
        tokens_SL = np.full((4, max(map(len, ids))), padding)
        for row, own in zip(tokens_SL, ids, strict=True):
            row[: len(own)] = own
        found = run(written["two_tower"][0] / "text.onnx", tokens=tokens_SL, lengths=[len(own) for own in ids])
        expected_SE = encode_texts(two_tower, texts, normalize=False)
        np.testing.assert_allclose(found["text_embedding"], expected_SE, atol=1e-5)
    one = run(written["two_tower"][0] / "text.onnx", tokens=[ids[1]], lengths=[len(ids[1])])
    np.testing.assert_allclose(one["text_embedding"][0], expected_SE[1], atol=1e-5)


def test_onnx_takes_the_files_and_they_hold_no_place_of_this_machine(written):
    for path in (p for folder, _, _ in written.values() for p in folder.iterdir()):
        onnx.checker.check_model(str(path), full_check=True)
        held = path.read_bytes()
        assert not any(place in held for place in (str(Path.cwd()).encode(), b"site-packages", b'", line '))
        assert onnx.load(path).graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_real_pictures_prepared_as_the_json_says(two_tower, tower, written, shared_data):
    files = sorted((shared_data / "pad_ufes20_subset" / "images").glob("*.jpg"))[:5]
    for name, model, output in (("two_tower", two_tower, "image_embedding"), ("tower", tower, "pooled")):
        said = preprocessing(model)["image"]
        views = np.stack([prepared(Image.open(file).convert("RGB"), said) for file in files])
        found = run(written[name][0] / "image.onnx", image=views)[output]
        expected = encode_pictures(model, [Image.open(file) for file in files], normalize=False)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def prepared(picture, said):
    """By the words of preprocessing.json alone."""
    height, width = said["size"]
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    if said["resize_mode"] == "squash":
        picture = picture.resize((width, height), filters[said["interpolation"]])
    else:
        scale = int(height / said["crop_ratio"]) / min(picture.size)
        picture = picture.resize([int(side * scale + 1e-9) for side in picture.size], filters[said["interpolation"]])
        left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
        picture = picture.crop((left, top, left + width, top + height))
    values = np.asarray(picture, np.float32) * said["scale"]
    return ((values - said["mean"]) / said["std"]).transpose(2, 0, 1).astype(np.float32)


def test_preprocessing_names_each_graph(two_tower, branches):
    assert set(preprocessing(branches)) == {"image", "dermoscopy"}
    said = preprocessing(two_tower)
    assert said["text"]["context_length"] == 16
    assert said["logit_scale"] == pytest.approx(two_tower.logit_scale.exp().item())


def test_the_difference_is_the_largest_over_pictures_and_outputs(two_tower, written):
    graph = next(g for g in written["two_tower"][1] if g.name == "image.onnx")
    assert 0 < graph.relative < 1e-5
    assert graph.difference < 1e-4
    one = [{"image": torch.zeros(1, 3, 32, 32)}, {"image": torch.ones(1, 3, 32, 32)}]

    def apart(image):
        pooled_BD, embedding_BE = onnx_export.ImageGraph(two_tower.image, two_tower.image_head)(image)
        return pooled_BD, embedding_BE + 0.5 * image[:, 0, :1, 0]

    absolute, relative = onnx_export.compare(apart, written["two_tower"][0] / "image.onnx", one)
    assert absolute == pytest.approx(0.5, abs=1e-4)
    with torch.no_grad():
        assert relative == pytest.approx(0.5 / apart(**one[1])[1].abs().max().item(), abs=1e-4)


def test_a_graph_that_says_something_else_or_no_number_is_refused(tower, written, tmp_path, monkeypatch):
    proto = onnx.load(written["tower"][0] / "image.onnx")
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: SimpleNamespace(model_proto=proto))
    assert write_graphs(tower, tmp_path)[0] == written["tower"][1]
    changed, said = deepcopy(tower), r"image\.onnx differs from torch by {} of its largest value, and at most 0.001"
    changed.trunk.conv1[0].weight.data[0] *= 2
    with pytest.raises(ValueError, match=said.format(r"0\.\d+")):
        write_graphs(changed, tmp_path)
    changed.trunk.conv1[0].weight.data[0] = torch.nan
    with pytest.raises(ValueError, match=said.format("nan")):
        write_graphs(changed, tmp_path)


def test_a_tower_too_large_for_a_file_is_refused_before_it_is_written(tower, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "LARGEST", 1000)
    with pytest.raises(ValueError, match="more than an ONNX file; leave --onnx out"):
        write_graphs(tower, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_text_towers_are_left_out_and_said(two_tower, unexported, tmp_path):
    text = PaddedTextTower(torch.nn.Identity(), two_tower.text.tokenizer, 24, 0, 16)
    model = TwoTower(two_tower.image, text, 24)
    _, left_out = write_graphs(model, tmp_path)
    assert set(unexported) == {"image.onnx"}
    assert left_out == ["the text tower (PaddedTextTower): only the causal one has a graph."]
    model.generator = torch.nn.Identity()
    assert write_graphs(model, tmp_path)[1][1] == "the generator: it writes token by token."
    assert "text" not in preprocessing(model)


def test_a_view_of_a_real_picture_is_what_evaluation_sees(tower):
    picture = np.arange(48 * 60 * 3, dtype=np.uint8).reshape(48, 60, 3)
    said = preprocessing(tower)["image"]
    np.testing.assert_allclose(
        prepared(Image.fromarray(picture), said), evaluation_view(picture, tower.transform), atol=1e-5
    )
