"""FSDP2: two ranks with blocks cut in two take one rank's steps, and their runs go on with one rank."""

from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from dermis.cases.manifest import Manifest
from dermis.distributed import first_own_row, gather_rows, is_cut, rank, world_size
from dermis.training import fully_sharded
from dermis.training.accumulate import backward
from dermis.training.config import TrainingConfig
from dermis.training.loop import train
from dermis.training.ranks import average_gradients
from tests.training.conftest import two_views

CPU = torch.device("cpu")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.wide, self.narrow = nn.LayerNorm(12), nn.Linear(12, 65), nn.Linear(65, 12)

    def forward(self, x):
        return x + self.narrow(F.gelu(self.wide(self.norm(x))))


class Sorter(nn.Module):
    """Runs its blocks more often on one rank than on the other, as text towers that sort by length do."""

    stays_whole = True

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block()])

    def forward(self, x):
        for part in x.split(4 if rank() else 3):
            self.blocks[0](part)
        return self.blocks[0](x)


class Contrast(nn.Module):
    """Two views of a case attract each other; blocks are called twice a step, and the scale is no block's."""

    def __init__(self, die_at=None):
        super().__init__()
        self.inward = nn.Linear(3 * 16 * 16, 12)
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.blocks[0].requires_grad_(False)
        self.sorter = Sorter()
        self.scale = nn.Parameter(torch.tensor(1.6))
        self.register_buffer("steps", torch.zeros(()))
        self.die_at = die_at

    def tower(self, x):
        x = self.inward(x.flatten(1))
        for block in self.blocks:
            x = block(x)
        return F.normalize(self.sorter(x), dim=-1)

    def embed(self, batch):
        return {f"view{k}": self.tower(view) for k, view in enumerate(batch["image_BVCHW"].unbind(1))}

    def loss(self, embeddings, batch):
        logits = embeddings["view0"] @ gather_rows(embeddings["view1"]).T * self.scale.exp()
        return {"loss": F.cross_entropy(logits, torch.arange(len(logits)) + first_own_row(len(logits)))}

    def forward(self, batch):
        return self.loss(self.embed(batch), batch)

    def after_step(self, step):
        self.steps += 1
        if step + 1 == self.die_at:
            raise InterruptedError(f"died after step {self.die_at}")


def pictures(batch=12):
    return torch.randn(batch, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def gradients():
    """Loss and gradients of the whole batch; the cut method holds half of its blocks here."""
    torch.manual_seed(0)
    method = Contrast().double()
    trained = fully_sharded.cut(method, CPU) if world_size() > 1 else method
    own = pictures().chunk(world_size())[rank()]
    losses = []
    for _ in range(2):  # gradients add up
        out = trained({"image_BVCHW": own})
        out["loss"].backward()
        losses.append(out["loss"].detach())
    average_gradients(p for p in trained.parameters() if p.requires_grad)
    found = {f"loss{i}": loss for i, loss in enumerate(losses)}
    if world_size() > 1:
        assert {n for n, p in trained.named_parameters() if is_cut(p)} == {
            n for n, _ in trained.named_parameters() if n.startswith("blocks.")
        }
        kept = sum(p.to_local().numel() for p in trained.blocks.parameters())
        assert abs(kept / sum(p.numel() for p in trained.blocks.parameters()) - 0.5) < 0.03
        found = {name: loss.clone() for name, loss in found.items()}
        for loss in found.values():
            dist.all_reduce(loss)
            loss /= 2
    grads = {n: fully_sharded.whole(p.grad).clone() for n, p in trained.named_parameters() if p.grad is not None}
    norm = (fully_sharded.clip_gradients if world_size() > 1 else nn.utils.clip_grad_norm_)(trained.parameters(), 0.1)
    clipped = {f"clipped {n}": fully_sharded.whole(p.grad) for n, p in trained.named_parameters() if p.grad is not None}
    return {**found, **grads, **clipped, "norm": norm}


class Summed(Contrast):
    def loss(self, embeddings, batch):
        return {"loss": world_size() * sum(view_BD[:, :3].sum() for view_BD in embeddings.values())}


def gradient_of_unequal_batches():
    """The inward weights' gradient, of batches of three cases and of one, in three slices if there were enough."""
    torch.manual_seed(0)
    method = Summed().double()
    trained = fully_sharded.cut(method, CPU) if world_size() > 1 else method
    own = pictures(4).split([3, 1])[rank()] if world_size() > 1 else pictures(4)
    backward(trained, {"row_B": torch.arange(len(own)), "image_BVCHW": own}, 3, nullcontext, lambda loss: loss)
    average_gradients(p for p in trained.parameters() if p.requires_grad)
    return {"inward": trained.inward.weight.grad}


class Watch:
    def __init__(self):
        self.seen = []

    def __call__(self, method):
        assert not any(is_cut(p) for p in method.parameters())
        self.seen.append(torch.stack([p.sum() for p in method.parameters()]).sum())
        return {"sum": float(self.seen[-1])}


def run(folder, manifest, accumulate=1, die_at=None, **settings):
    """Train; the weights, and what the evaluator saw."""
    torch.manual_seed(0 if rank() == 0 else 999)
    method, watch, size = Contrast(die_at), Watch(), 12 // world_size()
    batches = two_views(manifest, size, family="light")
    # eps well above the gradients' rounding: AdamW divides by their size, which would blow 1e-8 up to a whole step
    config = TrainingConfig(
        epochs=3, batch_size=size, lr=1e-2, accumulate=accumulate, workers=0, eps=1e-3, clip_norm=0.3, ema=0.9,
        evaluate_epochs=1, checkpoint_steps=1, fully_sharded=True, **settings,
    )  # fmt: skip
    try:
        train(method, batches, config, folder, CPU, watch)
    except InterruptedError:
        dist.barrier() if world_size() > 1 else None
        return {}
    return {**method.state_dict(), "seen": torch.stack(watch.seen)}


def _worker(number, what, arguments):
    fully_sharded.SMALLEST = 1000
    return what(*arguments)


def test_loss_gradient_and_clipping_of_two_ranks_are_one_ranks(two_ranks):
    first, second = two_ranks(_worker, gradients, ())
    for name, value in gradients().items():
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")
        torch.testing.assert_close(second[name], value, rtol=1e-9, atol=1e-11)


def test_ranks_with_fewer_cases_than_slices_run_their_blocks_equally_often(two_ranks):
    for found in two_ranks(_worker, gradient_of_unequal_batches, ()):
        torch.testing.assert_close(found["inward"], gradient_of_unequal_batches()["inward"], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_end_where_one_does_and_evaluate_whole_methods(
    photographs: Manifest, tmp_path, two_ranks, accumulate
):
    alone = run(tmp_path / "alone", photographs, accumulate)
    for found in two_ranks(_worker, run, (tmp_path / "run", photographs, accumulate)):
        for name, value in alone.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert all(a != b for a, b in pairwise(alone["seen"].tolist()))


def test_a_run_goes_on_with_another_number_of_ranks(photographs: Manifest, tmp_path, two_ranks):
    whole = run(tmp_path / "whole", photographs)
    del whole["seen"]  # the second half does not see the first
    two_ranks(_worker, run, (tmp_path / "run", photographs, 1, 4))
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    assert newest.name == "step-00000003"  # it died in the fourth
    found = run(tmp_path / "run", photographs)
    for name, value in whole.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")
    run(tmp_path / "back", photographs, 1, 4)
    for found in two_ranks(_worker, run, (tmp_path / "back", photographs)):
        for name, value in whole.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_what_cannot_be_cut_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"no tower of this method has blocks of 100,000 weights"):
        fully_sharded.cut(Contrast(), CPU)
