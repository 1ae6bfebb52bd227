"""Maps come from what the model learnt: with weights of noise they are unrelated (Adebayo et al., NeurIPS 2018)."""

import numpy as np
import pytest
import torch

from dermis.cases.catalogue import import_set
from dermis.explain import explain
from dermis.explain.maps import Map
from dermis.explain.sanity import agreement, noisy, randomised
from dermis.pictures.decode import decode
from dermis.pictures.store import read_bytes
from dermis.towers.build import ImageTowerConfig, build_image_tower

TEXTS = {"similarity": ["a melanoma"], "rollout": []}


def mean_agreement(model, pictures, texts, change):
    """Mean over pictures, each with a changed model of its own."""
    pairs = [(explain(model, p, texts)[0], explain(change(i), p, texts)[0]) for i, p in enumerate(pictures)]
    return np.mean([agreement(one, other) for one, other in pairs])


def check(model, pictures, texts, unrelated=0.2):
    assert mean_agreement(model, pictures[:3], texts, lambda i: noisy(model, 0.0, i)) == pytest.approx(1)
    assert mean_agreement(model, pictures[:3], texts, lambda i: noisy(model, 0.01, i)) > 0.9
    assert abs(mean_agreement(model, pictures, texts, lambda i: randomised(model, i))) < unrelated


@pytest.mark.parametrize("kind", TEXTS)
def test_noise_for_weights_gives_unrelated_maps(two_tower, pictures, kind):
    check(two_tower(size=160), pictures(16), TEXTS[kind])


@pytest.mark.usefixtures("looks_at_brightness")
def test_a_map_that_never_asks_the_model_is_found_out(two_tower, pictures):
    with pytest.raises(AssertionError, match=r"< 0\.2"):
        check(two_tower(), pictures(3), ["a melanoma"])


@pytest.mark.data
@pytest.mark.slow
def test_real_weights_on_real_skin(shared_data, shared_weights):
    weights = str(shared_weights / "vit_small_patch14_dinov2.safetensors")
    tower = build_image_tower(ImageTowerConfig(name="vit_small_patch14_dinov2.lvd142m", weights=weights, size=140))
    cases = import_set("ham10000", shared_data / "ham10000_200x150")
    paths = cases.table["image"].sample(30, random_state=0)
    # what is unusual in a picture (a dark lesion, a dark corner) draws a little attention whatever the weights: 0.18
    # [0.07, 0.28] was measured on 40 pictures (docs/explain.md)
    check(tower.eval(), [decode(read_bytes(cases.root, path)) for path in paths], [], unrelated=0.35)


def test_agreement_is_of_ranks_and_of_one_grid():
    ramp = np.arange(6, dtype=np.float32).reshape(2, 3)
    one, cubed, upside = (Map("image", "rollout", "", v, (0, 0, 1, 1)) for v in (ramp, ramp**3, -ramp))
    assert (agreement(one, cubed), agreement(one, upside)) == (pytest.approx(1), pytest.approx(-1))
    with pytest.raises(ValueError, match="different grids"):
        agreement(one, Map("image", "rollout", "", ramp.T, (0, 0, 1, 1)))


def test_a_randomised_model_has_the_same_numbers_in_other_places(tower):
    model = tower()
    changed = randomised(model, 0, lambda name: "blocks.2." in name)
    again = randomised(model, 0, lambda name: "blocks.2." in name)
    for (name, old), new, same in zip(model.named_parameters(), changed.parameters(), again.parameters(), strict=True):
        assert torch.equal(new, same)
        assert torch.equal(old.flatten().sort().values, new.flatten().sort().values)
        assert torch.equal(old, new) == ("blocks.2." not in name)
