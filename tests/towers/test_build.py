"""From what a recipe says to towers."""

import pytest
import torch

from dermis.recipe import build, to_mapping
from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_two_tower

TINY = TextTowerConfig(width=32, layers=1, heads=2, context_length=16)


def config(**changes):
    return TwoTowerConfig(**{"image": ImageTowerConfig(name="test_vit"), "text": TINY, "embed_dim": 8} | changes)


def test_the_seed_decides_and_the_global_generator_does_not_move():
    before = torch.get_rng_state()
    models = [build_two_tower(config(), seed) for seed in (1, 1, 2)]
    assert torch.get_rng_state().equal(before)
    states = [torch.cat([v.flatten() for v in m.state_dict().values()]) for m in models]
    assert states[0].equal(states[1])
    assert not states[0].equal(states[2])


def test_a_config_survives_a_recipe():
    written = to_mapping(config(head="mlp", logit_bias_init=-10.0))
    assert build(TwoTowerConfig, written) == config(head="mlp", logit_bias_init=-10.0)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"quick_gelu": True}, "quick_gelu has an effect for an open_clip:NAME model only"),
        ({"text": TextTowerConfig(pooling="cls")}, "pooling has an effect for an hf: tower only"),
        ({"text": TextTowerConfig(name="hf:x/y", width=3)}, "width has an effect for the small tower only"),
        ({"text": TextTowerConfig(name="smal")}, "Did you mean 'small'"),
        ({"image": ImageTowerConfig(name="open_clip:RN50")}, "name the same model for both"),
    ],
)
def test_settings_without_effect_are_errors(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_two_tower(config(**changes))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ImageTowerConfig(name="test_vit", size=0), "size must be at least 1, not 0"),
        (lambda: TextTowerConfig(width=0), "width must be at least 1, not 0"),
        (lambda: TextTowerConfig(layers=-1), "layers must be at least 1, not -1"),
        (lambda: TextTowerConfig(context_length=0), "context_length must be at least 1, not 0"),
        (lambda: config(embed_dim=0), "embed_dim must be at least 1, not 0"),
        (lambda: config(logit_scale_init=-3.0), "logit_scale_init must be above 0, not -3.0"),
        (lambda: build_two_tower(config(text=TextTowerConfig(context_length=2))), "leave room for .* it is 2"),
        (
            lambda: build_two_tower(config(image=ImageTowerConfig(name="test_vit", size=100))),
            "test_vit cuts pictures into patches of 16 x 16 pixels, and size 100 is no multiple of it",
        ),
    ],
)
def test_numbers_that_cannot_be_are_sentences_and_not_the_default(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_an_open_clip_model_brings_its_own_settings(open_clip_folder):
    folder, stock, _ = open_clip_folder()
    name = f"open_clip:local-dir:{folder}"

    def both(**changes):
        text = TextTowerConfig(name=name, freeze=True)
        return TwoTowerConfig(**{"image": ImageTowerConfig(name=name), "text": text} | changes)

    model = build_two_tower(both(logit_bias_init=-10.0, logit_scale_init=10.0))
    assert model.embed_dim == 24
    assert model.logit_bias.item() == -10
    assert model.logit_scale.exp().item() == pytest.approx(10)
    assert not any(p.requires_grad for p in model.text.parameters())
    assert all(p.requires_grad for p in model.image.parameters())
    assert build_two_tower(both()).logit_scale.item() == stock.logit_scale.item()
    with pytest.raises(ValueError, match="has embed_dim 24, not 32"):
        build_two_tower(both(embed_dim=32))
    with pytest.raises(ValueError, match="head has an effect for towers that are not"):
        build_two_tower(both(head="linear"))
    with pytest.raises(ValueError, match="pool has an effect"):
        build_two_tower(both(image=ImageTowerConfig(name=name, pool="avg")))


def test_the_small_towers_weights_load_strictly(tmp_path):
    from safetensors.torch import save_file

    donor = build_two_tower(config(), seed=5).text.encoder
    save_file(donor.state_dict(), tmp_path / "text.safetensors")
    text = TextTowerConfig(width=32, layers=1, heads=2, context_length=16, weights=str(tmp_path / "text.safetensors"))
    model = build_two_tower(config(text=text))
    assert model.text.encoder.token_embedding.weight.equal(donor.token_embedding.weight)
    with pytest.raises(ValueError, match="do not fit TextTransformer"):
        build_two_tower(config(text=TextTowerConfig(width=16, layers=1, heads=2, weights=text.weights)))
