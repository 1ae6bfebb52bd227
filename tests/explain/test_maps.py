"""Cases of one and two pictures, the part of the picture that a map lies on, and sentences for what cannot be."""

import numpy as np
import pytest
import torch
from PIL import Image

from dermis.explain import explain, kinds_of
from dermis.explain.draw import figure, overlay, scale_of
from dermis.explain.maps import Map
from dermis.pictures import PictureError
from dermis.pictures.decode import decode

SIDE = 12  # of the bright square


def dark_with_a_bright_square(height, width, x, y):
    picture_HWC = np.full((height, width, 3), 20, np.uint8)
    picture_HWC[y : y + SIDE, x : x + SIDE] = 240
    return picture_HWC


@pytest.mark.parametrize(
    "height, width, x, y",
    [(90, 133, 60, 40), (90, 133, 90, 70), (133, 90, 14, 28), (90, 91, 12, 14), (64, 64, 40, 14), (401, 300, 30, 80)],
)
@pytest.mark.parametrize(
    "crop_ratio, resize_mode", [(1.0, "shortest"), (0.875, "shortest"), (0.9, "shortest"), (1.0, "squash")]
)
@pytest.mark.parametrize("form", ["array", "pillow", "file"])
@pytest.mark.usefixtures("looks_at_brightness")
def test_what_is_bright_is_found_where_it_is(two_tower, tmp_path, height, width, x, y, crop_ratio, resize_mode, form):
    model = two_tower()
    object.__setattr__(model.image.transform, "crop_ratio", crop_ratio)
    object.__setattr__(model.image.transform, "resize_mode", resize_mode)
    upright_HWC = dark_with_a_bright_square(height, width, x, y)
    picture = upright_HWC
    if form != "array":
        lying = Image.fromarray(np.ascontiguousarray(np.rot90(upright_HWC)))  # EXIF 6: to be turned clockwise
        exif = lying.getexif()
        exif[0x0112] = 6
        lying.save(tmp_path / "p.png", exif=exif)
        picture = tmp_path / "p.png" if form == "file" else Image.open(tmp_path / "p.png")
    found = explain(model, picture, ["bright"])[0]

    left, top, right, bottom = found.box
    assert (found.box == (0, 0, 1, 1)) == (resize_mode == "squash" or (crop_ratio == 1 and abs(height - width) < 2))
    light_hw = found.values - found.values.min()
    light_hw[light_hw < light_hw.max() / 2] = 0
    h, w = light_hw.shape
    middle_x = left + (right - left) * (light_hw.sum(0) @ (np.arange(w) + 0.5)) / light_hw.sum() / w
    middle_y = top + (bottom - top) * (light_hw.sum(1) @ (np.arange(h) + 0.5)) / light_hw.sum() / h
    pixel = max((right - left) * width / w, (bottom - top) * height / h, 1)
    assert middle_x * width == pytest.approx(x + SIDE / 2, abs=0.6 * pixel)
    assert middle_y * height == pytest.approx(y + SIDE / 2, abs=0.6 * pixel)

    drawn_HWC = overlay(upright_HWC, found)
    assert (drawn_HWC.shape, drawn_HWC.dtype) == (upright_HWC.shape, np.uint8)
    changed = np.argwhere((drawn_HWC != upright_HWC).any(axis=2))
    expected = [top * height, left * width, bottom * height, right * width]
    assert [*changed.min(0), *(changed.max(0) + 1)] == pytest.approx(expected, abs=0.51)
    yellow_HW = drawn_HWC[..., :2].astype(int).sum(2) - drawn_HWC[..., 2]
    row, column = np.unravel_index(yellow_HW.argmax(), yellow_HW.shape)
    assert y - pixel <= row < y + SIDE + pixel
    assert x - pixel <= column < x + SIDE + pixel


def test_a_map_of_each_picture_of_a_case(pair, pictures):
    model = pair()
    photo, dermoscopy = pictures(2)
    assert kinds_of(model) == ("rollout",)
    found = {one.column: one for one in explain(model, {"image": photo, "dermoscopy": dermoscopy})}
    assert list(found) == ["dermoscopy", "image"]
    for column, picture in (("image", photo), ("dermoscopy", dermoscopy)):
        alone = explain(model.picture_towers[column], picture)[0]
        np.testing.assert_array_equal(found[column].values, alone.values)
    assert not np.allclose(found["image"].values, found["dermoscopy"].values, rtol=1e-3)


def test_the_kind_follows_from_the_texts(two_tower, tower, pictures):
    picture = pictures(1)[0]
    assert kinds_of(two_tower()) == ("similarity", "rollout")
    assert [one.kind for one in explain(two_tower(), picture)] == ["rollout"]
    assert [one.kind for one in explain(two_tower(), {"image": picture}, ["a", "b"])] == ["similarity"] * 2
    assert kinds_of(tower()) == ("rollout",)
    assert explain(tower(), picture)[0].column == "image"


def test_a_model_in_training_is_asked_in_evaluation_mode(two_tower, pictures):
    model, picture = two_tower(name="test_efficientnet"), pictures(1)[0]
    expected = explain(model, picture, ["a"])[0].values
    np.testing.assert_array_equal(explain(model.train(), picture, ["a"])[0].values, expected)
    assert model.training


@pytest.mark.parametrize(
    "which, image, arguments, sentence",
    [
        ("two_tower", {}, {"kind": "rolout"}, "unknown kind of map 'rolout'. Did you mean 'rollout'?"),
        ("two_tower", {}, {"kind": "similarity"}, "is about a text: give at least one"),
        ("two_tower", {}, {"texts": ["a", " "]}, "none that is empty"),
        ("two_tower", {}, {"texts": "melanoma"}, "texts is a list of texts; put 'melanoma' in one"),
        ("two_tower", {}, {"texts": ["a"], "kind": "rollout"}, "is about no text"),
        ("two_tower", {"name": "test_resnet"}, {}, "image tower is ResNet; it can do similarity .give texts."),
        ("two_tower", {"pool": "token+avg"}, {"texts": ["a"]}, "as wide as its pooled vector.*it can do rollout"),
        ("pair", {}, {"texts": ["a"]}, "needs a model of pictures and texts.*VisionTransformer; it can do rollout"),
        ("pair", {"name": "test_resnet"}, {}, "needs a plain vision transformer.*no other kind"),
        ("pair", {}, {}, "looks at dermoscopy and image; given: a picture of no column"),
        ("tower", {"name": "test_resnet"}, {}, "needs a plain vision transformer.*no other kind"),
    ],
)
def test_what_cannot_be_is_a_sentence(request, pictures, which, image, arguments, sentence):
    model = request.getfixturevalue(which)(**image)
    with pytest.raises(ValueError, match=sentence):
        explain(model, pictures(1)[0], **arguments)


def test_kinds_of_a_model_that_has_none(pair):
    assert kinds_of(pair(name="test_resnet")) == ()


def test_a_file_that_is_no_picture_is_a_sentence(tower, tmp_path):
    (tmp_path / "p.png").write_text("no picture")
    with pytest.raises(PictureError, match="it is text"):
        explain(tower(), tmp_path / "p.png")


def test_an_overlay_of_a_map_that_says_nothing_and_of_a_part_smaller_than_a_pixel():
    same = Map("image", "rollout", "", np.full((3, 3), 0.2, np.float32), (0, 0, 1, 1))
    assert scale_of(same) == (pytest.approx(0.2), pytest.approx(1.2))
    assert len(np.unique(overlay(np.zeros((9, 9, 3), np.uint8), same).reshape(-1, 3), axis=0)) == 1
    for box, place in (((0.99, 0.99, 1, 1), 8), ((0.46, 0.46, 0.48, 0.48), 4)):
        tiny = Map("image", "rollout", "", np.eye(3, dtype=np.float32), box)
        assert overlay(np.zeros((9, 9, 3), np.uint8), tiny)[place, place].any()
    with pytest.raises(ValueError, match="the picture is uint8"):
        overlay(np.zeros((9, 9, 3)), same)


def test_a_figure_is_a_png_whatever_the_text_says(pictures):
    about = r"costs $\nothing$ " * 20
    found = Map("image", "similarity", about, torch.rand(4, 4).numpy(), (0.1, 0, 0.9, 1))
    drawn_HWC = decode(figure(pictures(1)[0], found))
    assert min(drawn_HWC.shape[:2]) > 300
    assert len(np.unique(drawn_HWC.reshape(-1, 3), axis=0)) > 1000
