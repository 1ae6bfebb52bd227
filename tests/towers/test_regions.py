"""Regions: a ResNet's layer3 as a hook sees it, a ViT's patches, and the pooled vector as before."""

import pytest
import torch
from torch import nn

from dermis.towers.image import ImageTower, create_trunk, transform_of
from dermis.towers.regions import pooled_and_regions, region_dim


def tower_of(name, pool=None):
    trunk = create_trunk(name)
    for p in trunk.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return ImageTower(trunk, transform_of(trunk), pool).eval()


@pytest.mark.parametrize("name", ["test_resnet", "resnet10t", "test_efficientnet", "test_convnext", "test_vit"])
def test_the_pooled_vector_is_that_of_features(name):
    tower, image_BCHW = tower_of(name), torch.randn(2, 3, 160, 160)
    pooled_BD, region_BRHW = pooled_and_regions(tower, image_BCHW)
    torch.testing.assert_close(pooled_BD, tower.features(image_BCHW).pooled_BD)
    assert region_BRHW.shape[:2] == (2, region_dim(tower))


def test_regions_of_a_resnet_are_what_leaves_layer3():
    tower, image_BCHW, seen = tower_of("resnet10t"), torch.randn(2, 3, 96, 64), []
    tower.trunk.layer3.register_forward_hook(lambda module, inputs, output: seen.append(output))
    region_BRHW = pooled_and_regions(tower, image_BCHW)[1]
    assert region_BRHW.shape == (2, 256, 6, 4)
    assert torch.equal(region_BRHW, seen[0])


def test_regions_of_a_vit_are_its_patches_where_they_are():
    tower, image_BCHW = tower_of("test_vit"), torch.randn(2, 3, 160, 160)
    features = tower.features(image_BCHW)
    region_BRHW = pooled_and_regions(tower, image_BCHW)[1]
    rows, columns = features.grid
    assert region_BRHW.shape == (2, tower.dim, rows, columns)
    torch.testing.assert_close(region_BRHW[1, :, 2, 3], features.patch_BPD[1, 2 * columns + 3])


def test_a_tower_without_patches_is_refused():
    class Blind(nn.Module):
        dim = 3

        def features(self, image_BCHW):
            from dermis.towers import Features

            return Features(image_BCHW.mean((2, 3)))

    with pytest.raises(ValueError, match="no patches as wide as its pooled vector"):
        pooled_and_regions(Blind(), torch.ones(1, 3, 4, 4))
    with pytest.raises(ValueError, match="pool by 'token' or 'avg'"):
        pooled_and_regions(tower_of("test_vit", "token+avg"), torch.randn(1, 3, 160, 160))
