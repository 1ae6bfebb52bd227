"""SM3's two stages: equations as loops, stages, clusters, what the release counts."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.methods import methods
from dermis.methods.sm3 import SM3, SM3Config
from dermis.towers import Features
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches
from dermis.towers.label_heads import USED_BY

FUSIONS = ("none", "concat", "sep_shared", "sep_sep")


class Pixels(nn.Module):
    """A tower without batch statistics: one layer over the pixels."""

    dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 4 * 4, self.dim)

    def features(self, image_BCHW: Tensor) -> Features:
        return Features(torch.tanh(self.layer(image_BCHW.flatten(1))))


class Normed(Pixels):
    """The same with batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(self.dim)

    def features(self, image_BCHW: Tensor) -> Features:
        return Features(torch.tanh(self.norm(self.layer(image_BCHW.flatten(1)))))


def tiny(tower=Pixels, **settings) -> SM3:
    torch.manual_seed(0)
    model = Branches({"dermoscopy": tower(), "image": tower()})
    settings = {"width": 8} | settings
    relation = settings.get("relation", "tel")
    used = {name: value for name, value in settings.items() if relation in USED_BY.get(name, [relation])}
    return SM3(model, SM3Config(projection=5, clusters=[2, 3], **used)).double()


def pairs(cases: int = 7, views: int = 2, seed: int = 1) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    shape = (cases, views, 3, 4, 4)
    batch = {f"{name}_BVCHW": torch.randn(shape, generator=draws).double() for name in ("dermoscopy", "image")}
    return {"row_B": torch.arange(cases), **batch}


def unit(x):
    return x / x.norm()


def one_sided(z1, z2, temperature):
    """Equation (1), an anchor at a time."""
    losses = []
    for i in range(len(z1)):
        own = torch.exp(unit(z1[i]) @ unit(z2[i]) / temperature)
        below = 0.0
        for j in range(len(z1)):
            below = below + torch.exp(unit(z1[i]) @ unit(z2[j]) / temperature)
            if j != i:
                below = below + torch.exp(unit(z1[i]) @ unit(z1[j]) / temperature)
        losses.append(-torch.log(own / below))
    return torch.stack(losses).mean()


def both_sided(z1, z2, temperature):
    return (one_sided(z1, z2, temperature) + one_sided(z2, z1, temperature)) / 2


def by_hand(page: SM3, batch: dict[str, Tensor]) -> Tensor:
    """Equation (5) from the page's own heads; batch norm as it comes."""
    c, model = page.config, page.model
    released = c.as_released
    compare = both_sided if released else one_sided
    h = {n: [model.encode(n, batch[f"{n}_BVCHW"][:, v]) for v in (0, 1)] for n in ("dermoscopy", "image")}
    total = 0.0
    for name in h:
        z1, z2 = page.own[name](torch.cat(h[name])).chunk(2)
        total = total + compare(z1, z2, c.temperature)
    if c.fusion == "concat":
        side = [torch.cat([h["dermoscopy"][v], h["image"][v]], 1) for v in (0, 1)]
        return total + compare(*page.together(torch.cat(side)).chunk(2), c.temperature)
    if c.fusion == "none":
        return total
    p = {n: [model.parts["pair"](n, h[n][v]) for v in (0, 1)] for n in h}
    d, k = p["dermoscopy"], p["image"]
    if not released:
        return total + one_sided(d[0], k[0], c.temperature) + one_sided(d[0], k[1], c.temperature)
    styles = {0: [(0, 0), (1, 1)], 1: [(0, 1), (1, 0)], 2: [(0, 0), (0, 1), (1, 0), (1, 1)]}
    terms = [both_sided(d[a], k[b], c.temperature) for a, b in styles[c.style]]
    return total + sum(terms) / len(terms)


@pytest.mark.parametrize("settings", [
    *[{"fusion": f} for f in FUSIONS],
    *[{"fusion": f, "as_released": True, "style": s} for f in FUSIONS[2:] for s in (0, 1, 2)],
    {"fusion": "concat", "as_released": True},
], ids=str)  # fmt: skip
def test_the_contrast_is_the_equations_as_loops(settings):
    page, batch = tiny(**settings), pairs()
    ours, theirs = page(batch)["loss"], by_hand(page, batch)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    weights = [p for p in page.parameters() if p.requires_grad]
    for mine, other in zip(*(torch.autograd.grad(x, weights) for x in (ours, theirs)), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-8, rtol=0)


@pytest.mark.parametrize(("name", "size", "expected"), [("resnet18", 64, 24_720_512), ("resnet50", 64, 81_651_840)])
def test_as_many_weights_as_the_release(name, size, expected):
    """SimCLRSkinV32 of the release: two towers, four heads of three layers."""
    with torch.device("meta"):
        model = Branches({n: build_tower(name, size) for n in ("dermoscopy", "image")})
        page = SM3(model, SM3Config())
    assert sum(p.numel() for p in page.parameters()) == expected


def build_tower(name, size):
    from dermis.towers.build import build_image_tower

    return build_image_tower(ImageTowerConfig(name=name, size=size))


class Whole:
    """What start_epoch asks of batches: every case once, in order."""

    def __init__(self, batch: dict[str, Tensor], size: int = 4) -> None:
        self.parts = [
            {k: v[first:last] for k, v in batch.items()} | {"quarantined": []}
            for first, last in pairwise([*range(0, len(batch["row_B"]), size), len(batch["row_B"])])
        ]

    def in_order(self):
        return iter([dict(part) for part in self.parts])


def in_labels(relation="tel", cases=11, dropout=0.0, **settings) -> tuple[SM3, dict[str, Tensor]]:
    page, batch = tiny(relation=relation, dropout=dropout, **settings), pairs(cases, views=1)
    page.start_stage("labels")
    page.double()
    page.start_training(10, cases)
    page.memory_NLW = page.memory_NLW.double()
    return page, batch


RELATIONS = ("no_proj", "proj", "msa", "tel", "te")


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("as_released", [False, True])
def test_pseudo_labels_are_clusters_of_the_memory_and_the_loss_their_cross_entropy(relation, as_released):
    page, batch = in_labels(relation, as_released=as_released, **({"layers": 2} if relation == "te" else {}))
    page.start_epoch(0, Whole(batch))
    page.train()
    labels = page.model.parts["labels"]
    e = labels.embed(page.model.encode_case({n: batch[f"{n}_BVCHW"][:, 0] for n in page.model.pictures}))
    torch.testing.assert_close(page.memory_NLW, e)
    terms = []
    for k, head in enumerate(labels.heads):
        rows = e[:, k if e.shape[1] > 1 else 0]
        # the head's rows are the centroids, and a case's cluster is the one that its head answers most
        assert torch.equal(page.cluster_NL[:, k], (rows @ head.weight.T).argmax(1))
        torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(len(head.weight)).double())
        assert head.bias is None
        chosen = [-math.log(F.softmax(head(rows[i]), 0)[page.cluster_NL[i, k]].item()) for i in range(len(rows))]
        terms.append(sum(chosen) / len(chosen))
    expected = sum(terms) / (len(terms) if as_released else 1)
    assert page(batch)["loss"].item() == pytest.approx(expected, abs=1e-9)


def test_the_next_epoch_clusters_what_training_saw():
    page, batch = in_labels()
    page.start_epoch(0, Whole(batch))
    page.train()
    with torch.no_grad():
        page.model.parts["labels"].projections[0].weight.add_(1.0)
    some = {name: value[3:7] for name, value in batch.items()}
    before = page.memory_NLW.clone()
    page(some)
    changed = (page.memory_NLW != before).flatten(1).any(1)
    assert changed.tolist() == [3 <= i < 7 for i in range(11)]
    clusters = page.cluster_NL.clone()
    page(some)
    assert torch.equal(page.cluster_NL, clusters)  # fixed within the epoch
    page.start_epoch(1, Whole(batch))
    for k, head in enumerate(page.model.parts["labels"].heads):
        assert torch.equal(page.cluster_NL[:, k], (page.memory_NLW[:, k] @ head.weight.T).argmax(1))


def test_in_the_second_stage_only_the_label_heads_learn():
    page, batch = in_labels()
    page.start_epoch(0, Whole(batch))
    page.train()
    page(batch)["loss"].backward()
    learning = {name for name, p in page.named_parameters() if p.requires_grad}
    assert learning == {name for name, _ in page.named_parameters() if name.startswith("model.parts.labels.")}
    assert all(p.grad is not None for name, p in page.named_parameters() if name in learning)
    assert not page.model.picture_towers["image"].training


def test_a_picture_that_cannot_be_opened_takes_no_part_in_the_clusters():
    page, batch = in_labels()
    batch["row_B"][4] = 5  # its place was taken by another case
    page.start_epoch(0, Whole(batch))
    assert page.known_N.tolist() == [i != 4 for i in range(11)]
    assert page.cluster_NL[4].tolist() == [-1, -1]


def statistics(page: SM3) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in page.model.picture_towers.state_dict().items() if ".norm." in name}


@pytest.mark.parametrize("as_released", [False, True])
def test_as_released_the_first_look_drops_out_and_moves_the_frozen_towers_statistics_once(as_released):
    page, batch = in_labels("mlp", tower=Normed, dropout=0.5, as_released=as_released)
    labels, before, cases = page.model.parts["labels"], statistics(page), Whole(batch)
    features, expected = [], statistics(page)
    for part in cases.parts:
        sides = []
        for name, tower in page.model.picture_towers.items():
            x = tower.layer(part[f"{name}_BVCHW"][:, 0].flatten(1))
            mean, variance = (x.mean(0), x.var(0, unbiased=False)) if as_released else (0.0, torch.ones(6).double())
            sides.append(torch.tanh((x - mean) / (variance + 1e-5).sqrt()))
            if as_released:
                own = f"{name}.norm."
                expected[f"{own}running_mean"].mul_(0.9).add_(0.1 * x.mean(0))
                expected[f"{own}running_var"].mul_(0.9).add_(0.1 * x.var(0))
                expected[f"{own}num_batches_tracked"].add_(1)
        features.append(torch.cat(sides, 1))
    page.start_epoch(0, cases)
    moved = statistics(page)
    assert any(not torch.equal(moved[name], before[name]) for name in before) == as_released
    for name, value in expected.items():
        torch.testing.assert_close(moved[name], value, msg=lambda m, k=name: f"{k}: {m}")

    whole = torch.stack([F.relu(project(torch.cat(features))) for project in labels.projections], 1)
    dropped = page.memory_NLW == 0
    kept = whole[~dropped] * (2 if as_released else 1)  # dropout doubles what it keeps
    torch.testing.assert_close(page.memory_NLW[~dropped], kept)
    share = dropped[whole > 0].double().mean().item()
    assert 0.3 < share < 0.7 if as_released else share == 0

    page.train()
    page(batch)["loss"].backward()
    page.start_epoch(1, cases)
    assert all(torch.equal(value, moved[name]) for name, value in statistics(page).items())


def step_in_labels(rows: slice, seed: int, **settings) -> dict[str, Tensor]:
    """An epoch's clusters, a step on some of the twelve cases, and the clusters of the next epoch."""
    page, batch = in_labels(cases=12, **settings)
    torch.manual_seed(seed)
    page.start_epoch(0, Whole(batch))
    first = page.cluster_NL.clone()
    page.train()
    with torch.no_grad():
        for p in page.model.parts["labels"].projections.parameters():
            p.mul_(1.5)  # what training sees is not what the first look saw
    loss = page({name: value[rows] for name, value in batch.items()})["loss"]
    loss.backward()
    found = {"loss": loss.detach(), **{f"gradient {n}": p.grad for n, p in page.named_parameters() if p.requires_grad}}
    torch.manual_seed(seed + 10)
    page.start_epoch(1, Whole(batch))
    heads = page.model.parts["labels"].heads.state_dict()
    return {**found, "first": first, "clusters": page.cluster_NL, "memory": page.memory_NLW, **heads}


def contrast(rows: slice, train: bool, as_released: bool) -> dict[str, Tensor]:
    """Loss and gradients of some of eight cases."""
    page, batch = tiny(as_released=as_released), pairs(8)
    page.train(train)  # not in training: batch statistics are each rank's own
    loss = page({name: value[rows] for name, value in batch.items()})["loss"]
    loss.backward()
    return {"loss": loss.detach(), **{n: p.grad for n, p in page.named_parameters() if p.grad is not None}}


LABELS = [{"relation": r, "as_released": a} for r, a in (("tel", False), ("tel", True), ("no_proj", False))]
HALVES = {4: (slice(0, 4), slice(4, 8)), 6: (slice(0, 6), slice(6, 12))}


def worker(number):
    return {
        "labels": [step_in_labels(HALVES[6][number], seed=number, **settings) for settings in LABELS],
        "released": contrast(HALVES[4][number], train=True, as_released=True),
        "paper": contrast(HALVES[4][number], train=False, as_released=False),
    }


@pytest.fixture(scope="module")
def ranks(two_ranks):
    return two_ranks(worker)


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-10, msg=lambda m, k=name: f"{k}: {m}")


def mean_of(first: dict[str, Tensor], second: dict[str, Tensor], names) -> dict[str, Tensor]:
    return {name: (first[name] + second[name]) / 2 for name in names}


@pytest.mark.parametrize("which", range(len(LABELS)), ids=[str(settings) for settings in LABELS])
def test_two_ranks_learn_labels_as_one(ranks, which):
    one = step_in_labels(slice(None), seed=0, **LABELS[which])
    averaged = {name for name in one if name == "loss" or name.startswith("gradient ")}
    assert len(averaged) > 2
    first, second = (r["labels"][which] for r in ranks)
    close(mean_of(first, second, averaged), {name: one[name] for name in averaged})
    assert not torch.equal(one["first"], one["clusters"])
    for rank in (first, second):
        close({n: rank[n] for n in rank if n not in averaged}, {n: one[n] for n in one if n not in averaged})


def test_as_released_the_negatives_of_a_rank_are_its_own_cases(ranks):
    for number, rows in enumerate(HALVES[4]):
        close(ranks[number]["released"], contrast(rows, train=True, as_released=True))


def test_otherwise_negatives_come_from_all_ranks(ranks):
    one = contrast(slice(None), train=False, as_released=False)
    first, second = (r["paper"] for r in ranks)
    close(mean_of(first, second, one), one)
    assert not torch.isclose(first["loss"], contrast(HALVES[4][0], train=False, as_released=False)["loss"])


def test_settings_without_effect_and_single_pictures_are_sentences():
    with pytest.raises(ValueError, match="style has an effect with as_released"):
        SM3Config(style=1)
    with pytest.raises(ValueError, match="style has an effect"):
        SM3Config(style=1, as_released=True, fusion="concat")
    for name, relation in (("layers", "tel"), ("feedforward", "msa"), ("dropout", "proj"), ("width", "no_proj")):
        with pytest.raises(ValueError, match=f"{name} has no effect with relation {relation}: it belongs to"):
            SM3Config(relation=relation, **{name: 1})
    with pytest.raises(ValueError, match="pairs two pictures"):
        SM3(Branches({"image": Pixels()}), SM3Config())
    page = methods()["sm3"]
    assert page.stages == ("contrast", "labels")
    assert page.needs == ("image", "dermoscopy")


def test_the_model_looks_at_dermoscopy_first():
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="resnet10t", size=32)), seed=1)
    assert model.pictures == ("dermoscopy", "image")
    first, second = (next(iter(t.parameters())) for t in model.picture_towers.values())
    assert torch.equal(first, second)  # they part in training
    x, y = (torch.randn(2, 3, 32, 32) for _ in range(2))
    model.eval()
    h = model.encode_case({"image": y, "dermoscopy": x})
    torch.testing.assert_close(h[:, : model.dims["dermoscopy"]], model.encode("dermoscopy", x))
    torch.testing.assert_close(model.apart(h)["image"], model.encode("image", y))
