"""FusionM4Net's first stage: layers and loss written out, the release's layer sizes, ranks, mixing and its search."""

from fractions import Fraction
from itertools import product

import pytest
import torch
from torch import Tensor

from dermis.methods.fusionm4net import FusionM4Net, FusionM4NetConfig
from dermis.model import load, save
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches
from dermis.towers.fusion_heads import FusionHeads, fused, search_weights
from tests.methods.conftest import Pixels

TARGETS = {"diagnosis": ["nevus", "melanoma", "other"], "finding.streaks": ["absent", "regular"]}
LABELS = torch.tensor([[0, 1], [2, -1], [1, 0], [2, 0], [-1, -1], [1, -1], [0, -1], [-1, 1]])


def tiny(**settings) -> FusionM4Net:
    torch.manual_seed(0)
    model = Branches({"dermoscopy": Pixels(), "image": Pixels()})
    return FusionM4Net(model, FusionM4NetConfig(targets=TARGETS, hidden=6, width=5, **settings)).double()


def lesions(rows: slice = slice(None)) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(1)
    views = {f"{name}_BVCHW": torch.randn(8, 1, 3, 4, 4, generator=draws).double() for name in ("image", "dermoscopy")}
    return {name: value[rows] for name, value in (views | {"label_BL": LABELS}).items()}


def norm(x_BD, weight_D, bias_D):
    """Batch norm over the batch, as the paper of that name writes it."""
    centred = x_BD - sum(x_BD) / len(x_BD)
    return centred / torch.sqrt(sum(centred**2) / len(x_BD) + 1e-5) * weight_D + bias_D


def swish(x):
    return x / (1 + torch.exp(-x))


def branch_by_hand(page: FusionM4Net, name: str, h_BD: Tensor) -> list[Tensor]:
    w = {k.removeprefix("model.parts.fusion."): p for k, p in page.named_parameters()}
    x = h_BD
    for linear, batch_norm in ((0, 1), (4, 5)):
        layer = f"perceptrons.{name}."
        x = x @ w[f"{layer}{linear}.weight"].T + w[f"{layer}{linear}.bias"]
        x = swish(norm(x, w[f"{layer}{batch_norm}.weight"], w[f"{layer}{batch_norm}.bias"]))
    return [x @ w[f"heads.{name}.{label}.weight"].T + w[f"heads.{name}.{label}.bias"] for label in range(2)]


def loss_by_hand(page: FusionM4Net, batch: dict[str, Tensor]) -> Tensor:
    towers = page.model.picture_towers
    h_d, h_c = (
        torch.tanh(towers[n].layer.bias + batch[f"{n}_BVCHW"].flatten(1) @ towers[n].layer.weight.T)
        for n in ("dermoscopy", "image")
    )
    total = 0.0
    for name, h in (("fusion", h_d + h_c), ("dermoscopy", h_d), ("image", h_c)):
        for label, logits in enumerate(branch_by_hand(page, name, h)):
            known = [i for i in range(len(logits)) if batch["label_BL"][i, label] >= 0]
            for i in known:
                e = torch.exp(logits[i])
                total = total - torch.log(e[batch["label_BL"][i, label]] / e.sum()) / len(known) / 2 / 3
    return total


def test_the_loss_is_the_three_branches_written_out():
    page, batch = tiny(dropout=0.0), lesions()
    ours, theirs = page(batch), loss_by_hand(page, batch)
    torch.testing.assert_close(ours["loss"], theirs, atol=1e-9, rtol=0)
    weights = list(page.parameters())
    for mine, other in zip(*(torch.autograd.grad(x, weights) for x in (ours["loss"], theirs)), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-8, rtol=0)
    assert set(ours) == {"loss", "fusion", "dermoscopy", "image"}
    torch.testing.assert_close(sum(ours[k] for k in ours if k != "loss") / 3, ours["loss"].detach())


def test_layers_are_the_sizes_of_the_release():
    """FusionNet: three times 2048-512-128 with two batch norms, and heads of Derm7pt's eight labels."""
    classes = {f"label{i}": list("abcde")[:c] for i, c in enumerate((5, 3, 3, 3, 2, 3, 2, 3))}
    heads = FusionHeads({"dermoscopy": 2048, "image": 2048}, classes)
    perceptron = (2048 + 1) * 512 + 2 * 512 + (512 + 1) * 128 + 2 * 128
    assert sum(p.numel() for p in heads.parameters()) == 3 * (perceptron + (128 + 1) * 24) == 3_357_384
    dropped = [layer.p for layer in heads.modules() if isinstance(layer, torch.nn.Dropout)]
    assert dropped == [0.3] * 6


def test_slices_with_all_heads_statistics_give_the_whole_loss():
    page, batch = tiny(dropout=0.0), lesions()
    parts = [page.embed(lesions(slice(i, i + 2))) for i in range(0, 8, 2)]
    together = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    torch.testing.assert_close(page.loss(together, batch)["loss"], page(batch)["loss"], atol=1e-12, rtol=0)


def worker(number):
    page = tiny().eval()  # batch statistics are each rank's own (difference 7), so they rest
    loss = page(lesions(slice(4 * number, 4 * number + 4)))["loss"]
    loss.backward()
    return {"loss": loss.detach(), **{n: p.grad for n, p in page.named_parameters()}}


def test_two_ranks_with_unequal_labels_give_the_loss_and_gradient_of_one(two_ranks):
    ranks = two_ranks(worker)
    page = tiny().eval()
    loss = page(lesions())["loss"]
    loss.backward()
    for name, expected in {"loss": loss.detach(), **{n: p.grad for n, p in page.named_parameters()}}.items():
        torch.testing.assert_close((ranks[0][name] + ranks[1][name]) / 2, expected, atol=1e-10, rtol=0)


def test_probabilities_are_the_branches_mixed():
    page = tiny().eval()
    heads, h = page.model.parts["fusion"], {n: torch.randn(4, 7).double() for n in page.model.pictures}
    branches = [[logits.softmax(1) for logits in rows] for rows in heads(h).values()]
    for shares, weights in (((1, 1, 1), (1 / 3, 1 / 3, 1 / 3)), ((2, 3, 5), (0.2, 0.3, 0.5))):
        heads.share_K.copy_(torch.tensor(shares))
        for label, ours in enumerate(page.model.predict(torch.cat(list(h.values()), 1)).values()):
            theirs = sum(w * branch[label] for w, branch in zip(weights, branches, strict=True))
            torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def accuracy(p_KNC: list[Tensor], label_NL: Tensor, share: tuple[int, ...]) -> Fraction:
    """Mean over labels with known cases, exactly."""
    found = []
    for label, p in enumerate(p_KNC):
        known = [n for n in range(len(label_NL)) if label_NL[n, label] >= 0]
        right = 0
        for n in known:
            mixed = [sum(part * float(p[k, n, c]) for k, part in enumerate(share)) for c in range(p.shape[2])]
            right += mixed.index(max(mixed)) == int(label_NL[n, label])
        if known:
            found.append(Fraction(right, len(known)))
    return sum(found) / len(found)


@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_what_trying_everything_finds(seed):
    draws = torch.Generator().manual_seed(seed)
    p = [torch.randn(3, 25, c, generator=draws).mul(2).softmax(2) for c in (4, 2, 3)]
    label = torch.stack([torch.randint(-1, c, (25,), generator=draws) for c in (4, 2, 3)], dim=1)
    label[:, 2] = -1  # nobody knows
    steps = 12
    everything = [s for s in product(range(1, steps), repeat=3) if sum(s) == steps]
    scores = {share: accuracy(p, label, share) for share in everything}
    equals = [share for share in everything if scores[share] == max(scores.values())]
    assert len(equals) < len(everything)
    best = min(equals, key=lambda share: sum((part - steps / 3) ** 2 for part in share))
    assert tuple(search_weights(p, label, steps).tolist()) == best


def test_equal_shares_stay_unless_something_is_better():
    right = torch.eye(3)[[0, 1, 2, 0]].expand(3, 4, 3)
    assert search_weights([right], torch.tensor([[0], [1], [2], [0]])).tolist() == [10, 10, 10]
    wrong = right.roll(1, dims=2)
    second = torch.stack([wrong[0], right[0], wrong[0]])
    assert search_weights([second], torch.tensor([[0], [1], [2], [0]])).tolist()[1] > 15
    torch.testing.assert_close(fused(second, torch.tensor([1, 2, 1])), wrong[0] / 2 + right[0] / 2)
    with pytest.raises(ValueError, match="no label of the validation cases is known"):
        search_weights([right], torch.full((4, 1), -1))
    with pytest.raises(ValueError, match="at least 3 steps"):
        search_weights([right], torch.zeros(4, 1, dtype=torch.int64), steps=2)


def test_found_weights_are_saved_with_the_model(tmp_path):
    torch.manual_seed(3)
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="resnet10t", size=32)))
    page = FusionM4Net(model, FusionM4NetConfig(targets=TARGETS, hidden=16, width=8))
    page.train()
    page(lesions() | {f"{n}_BVCHW": torch.randn(8, 1, 3, 32, 32) for n in model.pictures})
    h = torch.randn(40, model.dim)
    label = torch.stack([torch.randint(0, 3, (40,)), torch.randint(0, 2, (40,))], dim=1)
    heads, statistics = model.parts["fusion"], {n: b.clone() for n, b in model.parts.named_buffers()}
    weights = page.choose_on_valid(h, label)
    assert heads.training
    assert all(torch.equal(b, statistics[n]) for n, b in model.parts.named_buffers() if "share" not in n)
    logits = heads.eval()(model.apart(h))  # as it predicts, not as it trains
    p_KNC = [torch.stack([rows[i] for rows in logits.values()]).softmax(2) for i in range(2)]
    assert torch.equal(heads.share_K, search_weights(p_KNC, label))
    assert set(weights) == {"fusion", "dermoscopy", "image"}
    assert sum(weights.values()) == pytest.approx(1)
    assert model.parts["fusion"].share_K.tolist() != [10, 10, 10]
    model.eval()
    save(tmp_path / "model", model)
    again = load(tmp_path / "model")
    assert torch.equal(again.parts["fusion"].share_K, model.parts["fusion"].share_K)
    assert list(again.predict(h)) == list(TARGETS)
    for ours, theirs in zip(again.predict(h).values(), model.predict(h).values(), strict=True):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours.sum(1), torch.ones(40))


def test_what_cannot_be_added_up_is_said():
    targets = FusionM4NetConfig(targets=TARGETS)
    with pytest.raises(ValueError, match=r"set model\.paired"):
        FusionM4Net(Branches({"image": Pixels()}), targets)
    with pytest.raises(ValueError, match=r"needs method\.targets"):
        FusionM4Net(Branches({"dermoscopy": Pixels(), "image": Pixels()}), FusionM4NetConfig())
    wide = Pixels()
    wide.dim = 9
    with pytest.raises(ValueError, match=r"towers of equal width.*'image': 9"):
        FusionM4Net(Branches({"dermoscopy": Pixels(), "image": wide}), targets)
