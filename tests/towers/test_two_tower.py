"""Two towers: projections, stored and frozen features, texts remembered."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from dermis.towers import Features
from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_two_tower
from dermis.towers.freeze import freeze, is_frozen
from dermis.towers.two_tower import TwoTower, make_head


def build(freeze_image=False, freeze_text=False, pool=None, **changes):
    return build_two_tower(
        TwoTowerConfig(
            image=ImageTowerConfig(
                name="test_efficientnet" if pool is None else "test_vit", pool=pool, freeze=freeze_image
            ),
            text=TextTowerConfig(width=32, layers=1, heads=2, context_length=16, freeze=freeze_text),
            embed_dim=24,
            **changes,
        )
    )


def test_stored_vectors_give_the_embedding_of_their_pictures():
    model = build(freeze_image=True).eval()
    view_BVCHW = torch.randn(3, 2, 3, 64, 64)
    stored_BD = model.image.features(view_BVCHW[:, 0]).pooled_BD
    fresh = model.image_embedding({"image_BVCHW": view_BVCHW})
    torch.testing.assert_close(model.image_embedding({"stored_BD": stored_BD, "image_BVCHW": view_BVCHW + 1}), fresh)
    torch.testing.assert_close(fresh, model.encode_image(view_BVCHW[:, 0]))


def test_stored_vectors_of_a_tower_that_learns_are_an_error():
    with pytest.raises(ValueError, match=r"set image\.freeze"):
        build().image_embedding({"stored_BD": torch.randn(2, 256)})


def test_a_frozen_tower_stays_in_evaluation_mode_and_gets_no_gradient(ragged):
    model = build(freeze_image=True, freeze_text=True).train()
    assert model.training
    assert not any(m.training for tower in (model.image, model.text) for m in tower.modules())
    before = {k: v.clone() for k, v in model.image.state_dict().items()}
    image_BE = model.encode_image(torch.randn(4, 3, 64, 64))
    (image_BE @ model.encode_text(*ragged(model.text.tokenizer(["a", "b"]))).T).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is not None] == ["image_head.weight", "text_head.weight"]
    for key, value in model.image.state_dict().items():
        assert value.equal(before[key])  # BatchNorm's running statistics too


def test_a_tower_that_learns_trains():
    model = build().eval().train()
    assert model.image.training
    assert not is_frozen(model.image)
    assert not is_frozen(nn.Identity())
    assert is_frozen(freeze(nn.Linear(1, 1)))


def test_patches_project_as_the_pooled_vector_does():
    model = build(pool="avg").eval()
    image_BCHW = torch.randn(2, 3, 160, 160)
    patch_BPE = model.encode_patches(image_BCHW)
    assert patch_BPE.shape == (2, 100, 24)
    torch.testing.assert_close(patch_BPE, model.project_image(model.image.features(image_BCHW).patch_BPD))
    with pytest.raises(ValueError, match="pool by 'token' or 'avg'"):
        build(pool="token+avg").encode_patches(image_BCHW)


def test_normalised_embeddings_have_length_one(ragged):
    model = build().eval()
    text = ragged(model.text.tokenizer(["nevus", "scar"]))
    for out in (
        model.encode_image(torch.randn(2, 3, 64, 64), normalize=True),
        model.encode_text(*text, normalize=True),
    ):
        torch.testing.assert_close(out.norm(dim=1), torch.ones(2))


def test_logit_scale_and_bias_start_as_asked():
    model = build(logit_scale_init=10.0, logit_bias_init=-10.0)
    assert model.logit_scale.item() == pytest.approx(math.log(10))
    assert model.logit_bias.item() == -10
    assert build().logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    assert "logit_bias" not in build().state_dict()


def test_heads():
    assert [p.shape for p in make_head("linear", 8, 4).parameters()] == [(4, 8)]
    assert [tuple(p.shape) for p in make_head("mlp", 8, 4).parameters()] == [(8, 8), (8,), (4, 8)]
    with pytest.raises(ValueError, match="as wide as embed_dim"):
        make_head("none", 8, 4)
    with pytest.raises(ValueError, match=r"unknown head 'lineer'\. Did you mean 'linear'"):
        make_head("lineer", 8, 4)


class CountingText(nn.Module):
    """A text tower whose vector depends on the batch it comes in, as rounding does."""

    dim = 1

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.encoded = 0

    def features(self, tokens, offsets_S1):
        texts = len(offsets_S1) - 1
        self.encoded += texts
        sums = torch.stack([tokens[a:b].sum() for a, b in pairwise(offsets_S1)])
        return Features((self.weight * sums)[:, None] + 1e-3 * texts)


def test_a_frozen_text_tower_encodes_each_text_once_and_whatever_its_batch(ragged):
    text = freeze(CountingText())
    model = TwoTower(build().image, text, 1, head="linear")
    first = model.text_features(*ragged([[1, 2], [3]]))
    again = model.text_features(*ragged([[3], [4, 4, 4], [1, 2], [3]]))
    assert text.encoded == 3
    assert again[[2, 0]].equal(first)
    alone = TwoTower(build().image, freeze(CountingText()), 1).text_features(*ragged([[3]]))
    assert alone[0].equal(first[1])


def test_texts_are_forgotten_with_the_weights_and_when_there_are_too_many(ragged):
    text = freeze(CountingText())
    model = TwoTower(build().image, text, 1)
    model.text_features(*ragged([[1, 2]]))
    changed = model.state_dict() | {"text.weight": torch.full((1,), 5.0)}
    model.load_state_dict(changed)
    assert model.text_features(*ragged([[1, 2]])).item() == pytest.approx(15.001)
    model.text_memory.capacity = 2
    model.text_features(*ragged([[5], [6], [7]]))
    assert len(model.text_memory.vector_of) == 3
    model.text_features(*ragged([[8]]))
    assert len(model.text_memory.vector_of) == 1


def test_texts_remembered_in_evaluation_can_train_the_projection(ragged):
    model = build(freeze_text=True)
    text = ragged(model.text.tokenizer(["nevus", "scar"]))
    with torch.inference_mode():
        model.encode_text(*text)
    model.encode_text(*text).sum().backward()
    assert model.text_head.weight.grad.abs().sum() > 0
