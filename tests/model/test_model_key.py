"""The name of a whole model: the same for the same, another for whatever changes its answers."""

from dataclasses import replace

import torch

from dermis.model import load, save
from dermis.model.cache import model_key
from dermis.towers.branches import Branches
from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_image_tower, build_two_tower


def two_tower(seed=0, context_length=16):
    text = TextTowerConfig(width=16, layers=1, heads=2, context_length=context_length)
    return build_two_tower(TwoTowerConfig(image=ImageTowerConfig(name="test_vit", size=32), text=text), seed=seed)


def test_a_model_keeps_its_name_through_a_folder(tmp_path):
    model = two_tower()
    save(tmp_path / "model", model)
    assert model_key(load(tmp_path / "model")) == model_key(model) == model_key(two_tower())


def test_each_part_counts():
    names = {model_key(two_tower()), model_key(two_tower(seed=1)), model_key(two_tower(context_length=8))}
    for change in (scale, word, transform, tokens):
        model = two_tower()
        change(model)
        names.add(model_key(model))
    assert len(names) == 7


def test_weights_of_half_the_bits_have_a_name_of_their_own():
    assert len({model_key(two_tower().to(kind)) for kind in (torch.float32, torch.float16, torch.bfloat16)}) == 3


def scale(model):
    model.logit_scale.data += 1e-3


def word(model):
    next(iter(model.text.parameters())).data.view(-1)[0] += 1e-3


def transform(model):
    model.image.transform = replace(model.image.transform, crop_ratio=0.9)


def tokens(model):
    model.text.tokenizer = lambda texts: [[1, 2] for _ in texts]


def test_towers_without_texts_and_their_parts_have_names_too():
    torch.manual_seed(0)
    tower = build_image_tower(ImageTowerConfig(name="test_vit", size=32))
    alone, both = Branches({"image": tower}), Branches({"dermoscopy": tower})
    names = {model_key(tower), model_key(alone), model_key(both)}
    torch.manual_seed(0)
    alone.add("pair", width=4)
    assert len(names | {model_key(alone)}) == 4
