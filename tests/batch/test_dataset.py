"""Picture columns of a model: each as its own tower wants it, all with the same draws."""

from dermis.batch.augment import AUGMENTATIONS
from dermis.batch.dataset import picture_columns
from dermis.towers import Transform


def test_each_column_has_the_size_and_colours_of_its_tower_and_the_familys_draws():
    small = Transform((32, 32), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    large = Transform((64, 64), (0.4, 0.5, 0.6), (4.0, 5.0, 6.0))
    family = AUGMENTATIONS["sm3"]
    first, second = picture_columns({"dermoscopy": small, "image": large}, family, views=2)
    assert (first.column, second.column, first.views, second.views) == ("dermoscopy", "image", 2, 2)
    for found, wanted in ((first, small), (second, large)):
        assert found.augmentation.size == wanted.size[0]
        assert (found.normalise.mean, found.normalise.std) == (wanted.mean, wanted.std)
        assert found.augmentation.scale == family.scale
        assert found.augmentation.rotation == family.rotation
