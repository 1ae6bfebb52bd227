"""Inception-Combined: the three combinations' heads and loss written out, ranks, prediction from both pictures."""

import pytest
import torch
from torch import Tensor

from dermis.methods.inception_combined import InceptionCombined, InceptionCombinedConfig
from dermis.model import load, save
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches
from tests.methods.conftest import Pixels

TARGETS = {"diagnosis": ["nevus", "melanoma", "other"], "finding.streaks": ["absent", "regular"]}
LABELS = torch.tensor([[0, 1], [2, -1], [1, 0], [2, 0], [-1, -1], [1, -1], [0, -1], [-1, 1]])
COMBINATIONS = {"dermoscopy": [0], "image": [1], "dermoscopy+image": [0, 1]}


def tiny() -> InceptionCombined:
    torch.manual_seed(0)
    model = Branches({"dermoscopy": Pixels(), "image": Pixels()})
    page = InceptionCombined(model, InceptionCombinedConfig(targets=TARGETS)).double()
    for p in model.parts.parameters():  # heads that start near nothing would hide a mix-up
        torch.nn.init.normal_(p)
    return page


def lesions(rows: slice = slice(None)) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(1)
    views = {f"{name}_BVCHW": torch.randn(8, 1, 3, 4, 4, generator=draws).double() for name in ("image", "dermoscopy")}
    return {name: value[rows] for name, value in (views | {"label_BL": LABELS}).items()}


def logits_by_hand(page: InceptionCombined, batch: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    w = dict(page.named_parameters())
    h = []
    for name in ("dermoscopy", "image"):
        layer = f"model.picture_towers.{name}.layer."
        h.append(torch.tanh(batch[f"{name}_BVCHW"].flatten(1) @ w[f"{layer}weight"].T + w[f"{layer}bias"]))
    found = {}
    for name, which in COMBINATIONS.items():
        z = torch.cat([h[i] for i in which], dim=1)
        heads = [f"model.parts.combinations.heads.{name}.heads.{label}." for label in range(2)]
        found[name] = [z @ w[f"{head}weight"].T + w[f"{head}bias"] for head in heads]
    return found


def test_the_loss_is_the_combinations_written_out():
    page, batch = tiny(), lesions()
    theirs = 0.0
    for rows in logits_by_hand(page, batch).values():
        for label, logits in enumerate(rows):
            known = [i for i in range(8) if batch["label_BL"][i, label] >= 0]
            for i in known:
                e = torch.exp(logits[i])
                theirs = theirs - torch.log(e[batch["label_BL"][i, label]] / e.sum()) / len(known) / 2 / 3
    ours = page(batch)
    torch.testing.assert_close(ours["loss"], theirs, atol=1e-9, rtol=0)
    weights = list(page.parameters())
    for mine, other in zip(*(torch.autograd.grad(x, weights) for x in (ours["loss"], theirs)), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-8, rtol=0)
    assert set(ours) == {"loss", *COMBINATIONS}


def test_predictions_come_from_both_pictures():
    page, batch = tiny(), lesions()
    h_BD = page.model.encode_case({name: batch[f"{name}_BVCHW"][:, 0] for name in page.model.pictures})
    said = page.model.predict(h_BD)
    assert list(said) == list(TARGETS)
    for ours, logits in zip(said.values(), logits_by_hand(page, batch)["dermoscopy+image"], strict=True):
        torch.testing.assert_close(ours, torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True))


def worker(number):
    page = tiny()
    loss = page(lesions(slice(4 * number, 4 * number + 4)))["loss"]
    loss.backward()
    return {"loss": loss.detach(), **{n: p.grad for n, p in page.named_parameters()}}


def test_two_ranks_with_unequal_labels_give_the_loss_and_gradient_of_one(two_ranks):
    ranks = two_ranks(worker)
    page = tiny()
    loss = page(lesions())["loss"]
    loss.backward()
    for name, expected in {"loss": loss.detach(), **{n: p.grad for n, p in page.named_parameters()}}.items():
        torch.testing.assert_close((ranks[0][name] + ranks[1][name]) / 2, expected, atol=1e-10, rtol=0)


def test_a_saved_model_predicts_the_same(tmp_path):
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="resnet10t", size=32)))
    InceptionCombined(model, InceptionCombinedConfig(targets=TARGETS))
    save(tmp_path / "model", model)
    h_BD = torch.randn(5, model.dim)
    ours, theirs = load(tmp_path / "model").predict(h_BD), model.predict(h_BD)
    assert list(ours) == list(theirs) == list(TARGETS)
    assert all(torch.equal(ours[label], theirs[label]) for label in TARGETS)


def test_what_cannot_be_combined_is_said():
    with pytest.raises(ValueError, match=r"set model\.paired"):
        InceptionCombined(Branches({"image": Pixels()}), InceptionCombinedConfig(targets=TARGETS))
    with pytest.raises(ValueError, match=r"needs method\.targets"):
        InceptionCombined(Branches({"dermoscopy": Pixels(), "image": Pixels()}), InceptionCombinedConfig())
