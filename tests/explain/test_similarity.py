"""Patch-text similarity against cosines written out."""

import numpy as np
import pytest
import torch

from dermis.explain import explain, kinds_of
from dermis.model.use import encode_texts

TEXTS = ["a melanoma", "a wart on the hand", "a melanoma"]


@pytest.mark.parametrize(
    "image, grid",
    [
        ({"name": "test_vit"}, (3, 5)),
        ({"name": "test_vit", "pool": "avg"}, (3, 5)),
        ({"name": "test_vit3"}, (3, 5)),
        ({"name": "test_efficientnet"}, (2, 3)),
        ({"name": "test_resnet"}, (2, 3)),
    ],
    ids=["token", "avg", "map", "efficientnet", "resnet"],
)
def test_a_value_is_the_cosine_of_a_patch_and_a_text(two_tower, image, grid):
    model, view_CHW = two_tower(**image), torch.randn(3, 48, 80)
    assert "similarity" in kinds_of(model)
    found = explain(model, view_CHW, TEXTS)
    with torch.no_grad():
        patch_PE = model.encode_patches(view_CHW[None])[0].numpy()
    text_TE = encode_texts(model, TEXTS, normalize=False)
    assert [one.about for one in found] == TEXTS
    for t, one in enumerate(found):
        assert (one.column, one.kind, one.box) == ("image", "similarity", (0, 0, 1, 1))
        assert (one.values.shape, one.values.dtype) == (grid, np.float32)
        for row in range(grid[0]):
            for column in range(grid[1]):
                patch_E = patch_PE[row * grid[1] + column]
                dot = sum(float(p) * float(q) for p, q in zip(patch_E, text_TE[t], strict=True))
                cosine = dot / np.sqrt((patch_E**2).sum()) / np.sqrt((text_TE[t] ** 2).sum())
                assert one.values[row, column] == pytest.approx(cosine, abs=1e-5)
    assert np.ptp(found[0].values) > 1e-3
    assert not np.allclose(found[0].values, found[1].values, atol=1e-3)


def test_open_clip_towers_have_it_too(open_clip_model):
    view_CHW = torch.randn(3, 32, 32)
    one = explain(open_clip_model, view_CHW, ["a wart"])[0]
    with torch.no_grad():
        patch_PE = open_clip_model.encode_patches(view_CHW[None])[0]
    expected_P = torch.cosine_similarity(patch_PE, torch.from_numpy(encode_texts(open_clip_model, ["a wart"])))
    np.testing.assert_allclose(one.values, expected_P.reshape(4, 4), atol=1e-5)
