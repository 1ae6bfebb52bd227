"""How published transformers models want their pictures: the files that say it, and what holds where none does."""

import json

import pytest

from dermis.towers.layouts.transformers_clip import read_preprocessing
from dermis.towers.layouts.transformers_siglip import PREPROCESSING

SAID = {"size": {"height": 32, "width": 32}, "image_mean": [0.4] * 3, "image_std": [0.2] * 3, "resample": 2}
FOUND = {"size": 32, "resize_mode": "squash", "interpolation": "bilinear", "mean": [0.4] * 3, "std": [0.2] * 3}


def test_it_is_said_alone_or_inside_the_settings_of_a_processor(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(SAID))
    assert read_preprocessing(tmp_path) == FOUND
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "SiglipProcessor"}))
    assert read_preprocessing(tmp_path) == FOUND
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": SAID | {"resample": 3}}))
    assert read_preprocessing(tmp_path) == FOUND | {"interpolation": "bicubic"}, "as transformers: the inner one first"


def test_transformers_own_processor_is_read(tmp_path):
    transformers = pytest.importorskip("transformers")
    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
    (tmp_path / "vocab.txt").write_text("\n".join(letters))
    tokenizer = transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"))
    pictures = transformers.SiglipImageProcessor(size={"height": 48, "width": 48}, image_mean=[0.1] * 3)
    transformers.SiglipProcessor(pictures, tokenizer).save_pretrained(tmp_path / "siglip")
    found = read_preprocessing(tmp_path / "siglip")
    assert (found["size"], found["mean"], found["resize_mode"]) == (48, [0.1] * 3, "squash")


def test_what_is_not_said_is_the_family_s_own(tmp_path):
    assert read_preprocessing(tmp_path) == {}
    assert read_preprocessing(tmp_path, PREPROCESSING) == PREPROCESSING
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 32}))
    found = read_preprocessing(tmp_path, PREPROCESSING)
    assert (found["mean"], found["std"], found["resize_mode"]) == ([0.5] * 3, [0.5] * 3, "squash")


def test_pictures_that_are_not_normalised_are_left_between_0_and_1(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(SAID | {"do_normalize": False}))
    found = read_preprocessing(tmp_path)
    assert (found["mean"], found["std"]) == ([0.0] * 3, [1.0] * 3)
