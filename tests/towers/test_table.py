"""Table towers: the tokens as their equations, what is missing takes no part, and blocks that fit every table."""

import json
import math

import pytest
import torch

from dermis.cases.table_schema import TableSchema
from dermis.recipe import to_mapping
from dermis.towers.table import TABLE_TOWERS, build_table_tower
from dermis.towers.tables import TableTowers

KINDS = [("trace", None), ("ft", "linear"), ("ft", "periodic")]


def build(name, numbers=None, number_tokens=3, categories=(4, 2), **settings):
    return build_table_tower(name, number_tokens, categories, numbers=numbers, width=16, **settings).eval()


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(filter(None, kind)))
def kind(request):
    return request.param


def table(missing=()):
    missing_BF = torch.zeros(5, 3, dtype=torch.bool)
    for place in missing:
        missing_BF[place] = True
    num_BF = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    return num_BF, torch.tensor([[1, 2], [4, 1], [0, 0], [2, 2], [3, 1]]), missing_BF


def test_linear_tokens_as_loops():
    tower = build("ft", "linear")
    num_BF, cat_BG, missing_BF = table(missing=[(1, 2), (3, 0)])
    tokens_BTD, absent_BT = tower.embeddings(num_BF, cat_BG, missing_BF)
    made, tables = tower.embeddings.numbers, tower.embeddings.categories
    for b in range(5):
        for f in range(3):
            known = num_BF[b, f].item() * made.direction_FD[f] + made.offset_FD[f]
            torch.testing.assert_close(tokens_BTD[b, f], made.missing_FD[f] if missing_BF[b, f] else known)
        for g in range(2):
            assert torch.equal(tokens_BTD[b, 3 + g], tables[g].weight[cat_BG[b, g]])
    assert not absent_BT.any()


def test_periodic_tokens_as_loops():
    tower = build("ft", "periodic")
    made = tower.embeddings.numbers
    with torch.no_grad():
        made.frequency_FK.mul_(100)  # else all sines are nearly linear
    num_BF, cat_BG, missing_BF = table(missing=[(1, 2)])
    tokens_BTD = tower.embeddings(num_BF, cat_BG, missing_BF)[0]
    for b, f in [(0, 0), (1, 1), (4, 2)]:
        angles = [2 * math.pi * c * num_BF[b, f].item() for c in made.frequency_FK[f].tolist()]
        v = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        for d in range(16):
            weights = made.weight_FKD[f, :, d].tolist()
            value = sum(x * w for x, w in zip(v, weights, strict=True)) + made.bias_FD[f, d].item()
            assert tokens_BTD[b, f, d].item() == pytest.approx(max(value, 0), abs=1e-4)
    assert torch.equal(tokens_BTD[1, 2], made.missing_FD[2])
    assert made.frequency_FK.std().item() == pytest.approx(1.0, rel=0.25)


def test_trace_tokens_as_loops():
    tower = build("trace")
    num_BF, cat_BG, missing_BF = table(missing=[(1, 2)])
    tokens_BTD, absent_BT = tower.embeddings(num_BF, cat_BG, missing_BF)
    first, _, last = tower.embeddings.numbers.mlp
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    for b in range(5):
        x = torch.tensor([0.0 if missing_BF[b, f] else num_BF[b, f].item() for f in range(3)])
        h = first.weight @ x + first.bias
        h = scale * torch.where(h > 0, h, alpha * (h.exp() - 1))
        for f in range(3):
            own = slice(16 * f, 16 * f + 16)
            torch.testing.assert_close(tokens_BTD[b, f], last.weight[own] @ h + last.bias[own])
    assert absent_BT.nonzero().tolist() == [[1, 2], [2, 3], [2, 4]]
    assert not tokens_BTD[2, 3:].any()


@pytest.mark.parametrize("read", ["mean", "cls"])
def test_what_is_missing_takes_no_part_in_trace(read):
    """As if the sequence had never had the token."""
    tower = build("trace", read=read, layers=2)
    row = table(missing=[(1, 2), (2, 0)])
    made = tower.features(*row)
    tokens_BTD, absent_BT = tower.embeddings(*row)
    for b in range(5):
        kept = tokens_BTD[b, ~absent_BT[b]][None]
        mixed = tower.blocks(kept, torch.zeros(1, kept.shape[1], dtype=torch.bool))[0]
        expected = mixed[0] if read == "cls" else sum(mixed[1:]) / len(kept[0])
        torch.testing.assert_close(made.pooled_BD[b], expected)
        torch.testing.assert_close(made.patch_BPD[b, ~absent_BT[b]], mixed[1:])
    assert not made.patch_BPD[absent_BT].any()


@pytest.mark.parametrize("read", ["mean", "cls"])
def test_a_row_of_nothing_is_a_learnt_vector(kind, read):
    tower = build(*kind, read=read).train()
    num_BF, cat_BG = torch.full((2, 3), float("nan")), torch.zeros(2, 2, dtype=torch.int64)
    out = tower.features(num_BF, cat_BG, torch.ones(2, 3, dtype=torch.bool)).pooled_BD
    assert out.isfinite().all()
    assert torch.equal(out[0], out[1])
    with torch.autograd.set_detect_anomaly(True):  # nor NaN on the way
        (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in tower.parameters())
    if kind[0] == "trace":
        assert tower.blocks.cls_D.grad.abs().sum() > 0
    with torch.no_grad():  # the path that torch takes without gradients
        again = tower.eval().features(num_BF, cat_BG, torch.ones(2, 3, dtype=torch.bool)).pooled_BD
    torch.testing.assert_close(again, out)


def test_a_missing_number_has_no_value(kind):
    tower = build(*kind)
    num_BF, cat_BG, missing_BF = table(missing=[(1, 2), (3, 0)])
    out = tower.features(num_BF, cat_BG, missing_BF).pooled_BD
    for junk in (0.0, 1e9, float("nan"), float("inf")):
        num_BF[missing_BF] = junk
        torch.testing.assert_close(tower.features(num_BF, cat_BG, missing_BF).pooled_BD, out)


def test_a_nan_at_a_missing_place_leaves_the_gradient_whole(kind):
    tower = build(*kind).train()
    num_BF, cat_BG, missing_BF = table(missing=[(1, 2)])
    num_BF[missing_BF] = float("nan")
    tower.features(num_BF, cat_BG, missing_BF).pooled_BD.sum().backward()
    assert all(p.grad.isfinite().all() for p in tower.parameters())


def test_missing_is_not_zero(kind):
    tower = build(*kind)
    num_BF, cat_BG, missing_BF = table()
    num_BF[3, 1] = 0.0
    known = tower.features(num_BF, cat_BG, missing_BF).pooled_BD
    missing_BF[3, 1] = True
    changed = (tower.features(num_BF, cat_BG, missing_BF).pooled_BD - known).abs().amax(1) > 1e-4
    assert changed.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("column", [0, 1])
def test_every_category_is_its_own(kind, column):
    size = [4, 2][column]
    num_BF, cat_BG, missing_BF = (x[:1].expand(size + 1, -1).clone() for x in table())
    cat_BG[:, column] = torch.arange(size + 1)
    out = build(*kind).features(num_BF, cat_BG, missing_BF).pooled_BD
    assert torch.pdist(out).min() > 1e-3


def test_equal_values_of_different_columns_differ(kind):
    tokens_BTD = build(*kind).features(torch.ones(1, 3), torch.ones(1, 2).long(), torch.zeros(1, 3).bool()).patch_BPD
    assert torch.pdist(tokens_BTD[0]).min() > 1e-3
    assert tokens_BTD.shape == (1, 5, 16)


def test_every_weight_learns(kind):
    tower = build(*kind, layers=2).train()
    out = tower.features(*table(missing=[(0, 0), (1, 1), (3, 2)])).pooled_BD
    (out * torch.randn_like(out)).sum().backward()
    assert [n for n, p in tower.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


@pytest.mark.parametrize("numbers, categories", [(2, []), (0, [3])])
def test_one_kind_of_column_is_enough(kind, numbers, categories):
    tower = build(*kind, number_tokens=numbers, categories=categories)
    row = torch.randn(2, numbers), torch.ones(2, len(categories)).long(), torch.zeros(2, numbers).bool()
    assert tower.features(*row).pooled_BD.shape == (2, tower.dim)


def test_blocks_fit_another_table_and_embeddings_do_not(kind):
    old, new = build(*kind), build(*kind, number_tokens=2, categories=(7, 3, 5))
    assert {name.split(".")[0] for name in old.state_dict()} == {"embeddings", "blocks"}
    new.blocks.load_state_dict(old.blocks.state_dict())
    tokens_BTD, absent_BT = torch.randn(2, 6, 16), torch.zeros(2, 6).bool()
    torch.testing.assert_close(new.blocks(tokens_BTD, absent_BT), old.blocks(tokens_BTD, absent_BT))
    with pytest.raises(RuntimeError, match=r"size mismatch|Unexpected"):
        new.embeddings.load_state_dict(old.embeddings.state_dict())


def test_layers_normalise_after_themselves_in_trace_and_before_in_ft():
    for name, first in (("trace", False), ("ft", True)):
        blocks = build(name, layers=2).blocks
        assert [layer.norm_first for layer in blocks.encoder.layers] == [first, first]
        assert (blocks.encoder.norm is not None) == first
        assert blocks.encoder.layers[0].linear1.out_features == 4 * 16


def test_wrong_settings_are_sentences():
    assert set(TABLE_TOWERS) == {"trace", "ft"}
    for settings, sentence in (
        ({"name": "trase"}, "unknown table tower 'trase'. Did you mean 'trace'"),
        ({"name": "ft", "number_tokens": 0, "categories": []}, "at least one column"),
        ({"name": "ft", "heads": 3}, "3 does not divide 16"),
        ({"name": "ft", "numbers": "periodc"}, "Did you mean 'periodic'"),
        ({"name": "trace", "numbers": "linear"}, "a setting of the table tower ft"),
        ({"name": "trace", "read": "mena"}, "Did you mean 'mean'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            build(**settings)


SCHEMAS = {
    "lesion": TableSchema({"lesion.area": (3.0, 2.0)}, {"lesion.site": ["arm", "back"]}, {"lesion.angle": 180.0}),
    "patient": TableSchema({"patient.age": (50.0, 9.0)}, {}),
}


def batch():
    generator = torch.Generator().manual_seed(3)
    made = {"lesion_cat_BG": torch.tensor([[0], [1], [2], [1]]), "patient_cat_BG": torch.zeros(4, 0).long()}
    for level, width in (("lesion", 3), ("patient", 1)):
        made[f"{level}_num_BF"] = torch.randn(4, width, generator=generator)
        made[f"{level}_missing_BF"] = torch.rand(4, width, generator=generator) < 0.3
    return made


def test_towers_of_all_levels_are_built_again_from_plain_settings(kind):
    encoder, numbers = kind
    plain = {level: to_mapping(schema) for level, schema in SCHEMAS.items()}
    settings = {"schemas": plain, "encoder": encoder, "numbers": numbers, "width": 8}
    part = TableTowers({"image": 32}, **settings).eval()
    again = TableTowers({"image": 32}, **json.loads(json.dumps(settings))).eval()
    again.load_state_dict(part.state_dict())
    assert part.names == ("lesion", "patient")
    assert part.dims == {"lesion": 8, "patient": 8}
    assert again.schemas == SCHEMAS
    for level in part.names:
        made = part.encode(level, batch())
        assert made.shape == (4, 8)
        torch.testing.assert_close(again.encode(level, batch()), made)
        row = (batch()[f"{level}_{name}"] for name in ("num_BF", "cat_BG", "missing_BF"))
        torch.testing.assert_close(part.towers[level].features(*row).pooled_BD, made)


def test_levels_that_are_not_there_are_said():
    plain = {level: to_mapping(schema) for level, schema in SCHEMAS.items()}
    with pytest.raises(ValueError, match="Did you mean 'lesion'"):
        TableTowers({}, schemas=plain).encode("lesions", batch())
    with pytest.raises(ValueError, match="no columns of level patient"):
        TableTowers({}, schemas=plain | {"patient": {"numbers": {}, "categories": {}}})
    with pytest.raises(ValueError, match=r"unknown key in schemas\.patient 'number'"):
        TableTowers({}, schemas=plain | {"patient": {"number": {}}})
