"""ConVIRT's page: the loss as loops over the towers' embeddings, a text branch that learns, ranks and slices."""

import pytest
import torch

from dermis.batch.slices import slices
from dermis.methods import methods
from dermis.methods.convirt import ConVIRT, ConVIRTConfig
from dermis.towers.two_tower import TwoTower
from tests.methods.conftest import CAPTIONS, Letters, Pixels, assert_two_ranks_are_one, tiny_batch

DISTINCT = ["a mole", "melanoma on the back", "a scar", "basal cell carcinoma"]


def build(**settings):
    torch.manual_seed(0)
    return ConVIRT(TwoTower(Pixels(), Letters(), embed_dim=5, head="mlp"), ConVIRTConfig(**settings)).double()


def as_loops(page, batch, captions, weight, temperature):
    """Equations (1) to (4), one picture and one text at a time."""
    v = [page.encode_image(picture[None, 0])[0] for picture in batch["image_BVCHW"]]
    u = [page.encode_text(torch.tensor([ord(c) for c in t]), torch.tensor([0, len(t)]))[0] for t in captions]

    def e(i, j):
        return torch.exp(v[i] @ u[j] / (v[i].norm() * u[j].norm()) / temperature)

    total, cases = 0.0, range(len(v))
    for i in cases:
        to_text = -torch.log(e(i, i) / sum(e(i, j) for j in cases))
        to_image = -torch.log(e(i, i) / sum(e(j, i) for j in cases))
        total = total + weight * to_text + (1 - weight) * to_image
    return total / len(v)


@pytest.mark.parametrize(
    ("settings", "weight", "temperature"), [({}, 0.75, 0.1), ({"weight": 0.2, "temperature": 0.5}, 0.2, 0.5)]
)
def test_loss_is_the_equations_as_loops(batch, settings, weight, temperature):
    page = build(**settings)
    in_float32 = 1 / page.model.logit_scale.exp().item()
    assert in_float32 == pytest.approx(temperature)
    ours, theirs = page(batch)["loss"], as_loops(page, batch, CAPTIONS, weight, in_float32)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    learnt = [p for p in page.parameters() if p.requires_grad]
    for mine, other in zip(*(torch.autograd.grad(loss, learnt) for loss in (ours, theirs)), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-8, rtol=0)


def test_the_text_branch_learns_and_the_temperature_does_not(batch):
    page = build()
    page(batch)["loss"].backward()
    assert [name for name, p in page.named_parameters() if p.grad is None] == ["clip.model.logit_scale"]
    assert all(p.grad.abs().sum() > 0 for p in [*page.model.text.parameters(), *page.model.text_head.parameters()])
    assert page.model.logit_scale.exp().item() == pytest.approx(10)


def test_the_loss_of_concatenated_slices_is_the_whole_loss(batch):
    page = build(duplicates="shared", chunk=2)
    parts = [page.embed(part) for part in slices(batch, 4)]
    together = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    torch.testing.assert_close(page.loss(together, batch)["loss"], page(batch)["loss"], rtol=1e-12, atol=1e-12)


def test_twenty_steps_lower_the_loss():
    page, batch, losses = build(), tiny_batch(DISTINCT), []
    optimiser = torch.optim.Adam([p for p in page.parameters() if p.requires_grad], lr=0.02)
    for _ in range(21):
        loss = page(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_it_registers_itself_and_refuses_what_makes_no_sense():
    assert methods()["convirt"] is ConVIRT
    with pytest.raises(ValueError, match="temperature must be above 0, not 0"):
        ConVIRTConfig(temperature=0.0)
    with pytest.raises(ValueError, match=r"weight is a share, 0 to 1, not 1\.5"):
        ConVIRTConfig(weight=1.5)


def make_batch():
    return tiny_batch(CAPTIONS)


def test_two_ranks_give_the_value_and_gradient_of_one(two_ranks):
    assert_two_ranks_are_one(two_ranks, build, make_batch)
