"""One picture, a few lines."""

import numpy as np
import pytest
import torch
from PIL import Image

from dermis.model.embed import embed_pictures
from dermis.model.use import classify, encode_pictures, encode_texts, generate, predict_labels
from dermis.pictures import PictureError
from dermis.pictures.decode import decode
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches


def test_file_array_pillow_and_view_of_a_picture_are_one(tiny, pictures, tmp_path):
    model = tiny("test_efficientnet")
    file = pictures.root / "0.jpg"
    picture_HWC = decode(file.read_bytes())
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    lying = Image.fromarray(picture_HWC).transpose(Image.Transpose.ROTATE_90)
    lying.save(tmp_path / "lying.png", exif=exif)
    out = encode_pictures(model, [str(file), file, picture_HWC, Image.open(tmp_path / "lying.png")])
    assert out.shape == (4, 24)
    np.testing.assert_allclose(out, out[:1].repeat(4, 0), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-5)
    expected, _ = embed_pictures(model, pictures.select([0]), stage="projected")
    np.testing.assert_allclose(encode_pictures(model, [file], normalize=False), expected, rtol=1e-4, atol=1e-5)


def test_an_image_tower_alone_gives_its_pooled_vector(tiny, pictures):
    model = tiny("test_efficientnet")
    view = torch.randn(3, 160, 160)
    with torch.no_grad():
        expected = model.image.features(view[None]).pooled_BD.numpy()
    np.testing.assert_allclose(encode_pictures(model.image, [view], normalize=False), expected, rtol=1e-5)


def test_probabilities_are_the_softmax_of_scaled_cosines(tiny, pictures):
    model = tiny("test_efficientnet")
    scores = classify(model, pictures.root / "1.jpg", ["nevus", "melanoma", "scar"], template="skin: {}")
    image_1E = encode_pictures(model, [pictures.root / "1.jpg"])
    text_CE = encode_texts(model, ["skin: nevus", "skin: melanoma", "skin: scar"])
    logits = model.logit_scale.exp().item() * (image_1E @ text_CE.T)[0]
    expected = np.exp(logits) / np.exp(logits).sum()
    assert scores["melanoma"] == pytest.approx(expected[1], rel=1e-4)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert sum(scores.values()) == pytest.approx(1)


def test_wrong_questions_are_sentences(tiny, tmp_path):
    model = tiny("test_efficientnet")
    for no_list in ([], "melanoma"):
        with pytest.raises(ValueError, match="a list of at least one name"):
            classify(model, torch.zeros(3, 8, 8), no_list)
        with pytest.raises(ValueError, match="a list of one picture or more"):
            encode_pictures(model, no_list)
        with pytest.raises(ValueError, match="a list of one text or more"):
            encode_texts(model, no_list)
    with pytest.raises(ValueError, match=r"must hold \{\} exactly once"):
        classify(model, torch.zeros(3, 8, 8), ["nevus"], template="skin")
    with pytest.raises(PictureError):
        encode_pictures(model, [tmp_path / "nothing.jpg"])
    with pytest.raises(ValueError, match=r"got float64 \(4, 4\)"):
        encode_pictures(model, [np.zeros((4, 4))])
    with pytest.raises(ValueError, match=r"a normalised view, float \(3, H, W\)"):
        encode_pictures(model, [torch.zeros(4, 4, 3, dtype=torch.uint8)])


def test_a_model_of_another_kind_than_asked_is_a_sentence(tiny):
    model, picture = tiny("test_efficientnet"), torch.zeros(3, 32, 32)
    pair = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), paired=True))
    with pytest.raises(
        ValueError, match=r'give model.picture_towers\["dermoscopy"\] or model.picture_towers\["image"\]'
    ):
        encode_pictures(pair, [picture])
    for other in (pair, model.image):
        with pytest.raises(ValueError, match="knows no texts"):
            classify(other, picture, ["nevus"])
        with pytest.raises(ValueError, match="says no texts"):
            generate(other, picture)
    for other in (model, model.image):
        with pytest.raises(ValueError, match="was taught no labels"):
            predict_labels(other, image=picture)
