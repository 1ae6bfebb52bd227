"""The table tower: what is missing is said, and nothing leaks between columns or cases."""

import pytest
import torch

from dermis.towers.table import TableTower


@pytest.fixture
def tower():
    return TableTower(numbers=3, categories=[4, 2], width=16, layers=1, heads=2).eval()


def table(missing=()):
    missing_BF = torch.zeros(5, 3, dtype=torch.bool)
    for place in missing:
        missing_BF[place] = True
    generator = torch.Generator().manual_seed(1)
    num_BF = torch.randn(5, 3, generator=generator)
    return num_BF, torch.tensor([[1, 2], [4, 1], [0, 0], [2, 2], [3, 1]]), missing_BF


def test_a_missing_number_has_no_value(tower):
    num_BF, cat_BG, missing_BF = table(missing=[(1, 2), (3, 0)])
    out = tower.features(num_BF, cat_BG, missing_BF).pooled_BD
    for junk in (0.0, 1e9, float("nan"), float("inf")):
        num_BF[missing_BF] = junk
        torch.testing.assert_close(tower.features(num_BF, cat_BG, missing_BF).pooled_BD, out)


def test_a_nan_at_a_missing_place_leaves_the_gradient_whole():
    tower = TableTower(numbers=3, categories=[4, 2], width=16, heads=2)
    num_BF, cat_BG, missing_BF = table(missing=[(1, 2)])
    num_BF[missing_BF] = float("nan")
    tower.features(num_BF, cat_BG, missing_BF).pooled_BD.sum().backward()
    assert all(p.grad.isfinite().all() for p in tower.parameters())


def test_missing_is_not_the_mean(tower):
    num_BF, cat_BG, missing_BF = table()
    num_BF[2, 1] = 0.0
    known = tower.features(num_BF, cat_BG, missing_BF).pooled_BD
    missing_BF[2, 1] = True
    changed = (tower.features(num_BF, cat_BG, missing_BF).pooled_BD - known).abs().amax(1) > 1e-4
    assert changed.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("column", [0, 1])
def test_every_category_is_its_own(tower, column):
    size = [4, 2][column]
    num_BF, cat_BG, missing_BF = (x[:1].expand(size + 1, -1).clone() for x in table())
    cat_BG[:, column] = torch.arange(size + 1)
    out = tower.features(num_BF, cat_BG, missing_BF).pooled_BD
    assert torch.pdist(out).min() > 1e-3


def test_equal_values_of_different_columns_differ(tower):
    tokens_BTD = tower.features(
        torch.ones(1, 3), torch.ones(1, 2, dtype=torch.int64), torch.zeros(1, 3).bool()
    ).patch_BPD
    assert torch.pdist(tokens_BTD[0]).min() > 1e-3
    assert tokens_BTD.shape == (1, 5, 16)


def test_every_weight_learns():
    tower = TableTower(numbers=3, categories=[4, 2], width=16, layers=2, heads=2)
    out = tower.features(*table(missing=[(0, 0), (1, 1), (2, 2)])).pooled_BD
    (out * torch.randn_like(out)).sum().backward()
    assert [n for n, p in tower.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


@pytest.mark.parametrize("numbers, categories", [(2, []), (0, [3])])
def test_one_kind_of_column_is_enough(numbers, categories):
    tower = TableTower(numbers, categories, width=16, heads=2)
    out = tower.features(
        torch.randn(2, numbers), torch.ones(2, len(categories), dtype=torch.int64), torch.zeros(2, numbers).bool()
    )
    assert out.pooled_BD.shape == (2, tower.dim)


def test_wrong_settings_are_sentences():
    with pytest.raises(ValueError, match="at least one column"):
        TableTower(0, [])
    with pytest.raises(ValueError, match="3 does not divide 16"):
        TableTower(1, [], width=16, heads=3)
