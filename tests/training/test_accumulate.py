"""GradCache: the whole batch's loss and gradient from slices, with the same dropout in both passes."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from dermis.training.accumulate import backward


def batch(cases=10):
    g = torch.Generator().manual_seed(1)
    return {"row_B": torch.arange(cases), "image_BVCHW": torch.randn(cases, 2, 3, 16, 16, generator=g)}


def gradients(method, count):
    method.zero_grad()
    out = backward(method, batch(), count, nullcontext, lambda loss: loss)
    return out["loss"], [p.grad.clone() for p in method.parameters()]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_slices_give_the_whole_batchs_loss_and_gradient(twins, count):
    torch.manual_seed(0)
    method = twins().double().eval()  # eval: no dropout, so both orders of random numbers agree
    method.forward, method.embed = (
        method.forward,
        (lambda b, embed=method.embed: embed({**b, "image_BVCHW": b["image_BVCHW"].double()})),
    )
    whole_loss, whole = gradients(method, 1)
    loss, sliced = gradients(method, count)
    torch.testing.assert_close(loss, whole_loss, rtol=1e-12, atol=0)
    for ours, theirs in zip(sliced, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


def test_the_second_pass_draws_the_dropout_of_the_first(twins):
    class Remembers(twins):
        def __init__(self):
            super().__init__()
            self.seen = []

        def embed(self, batch):
            out = super().embed(batch)
            self.seen.append(out["first"].detach().clone())
            return out

    method = Remembers().train()
    backward(method, batch(), 5, nullcontext, lambda loss: loss)
    for first, second in zip(method.seen[:5], method.seen[5:], strict=True):
        assert torch.equal(first, second)


def test_a_method_that_cannot_be_cut_says_so():
    class Plain(nn.Module):
        def forward(self, batch):
            raise AssertionError("not reached")

    with pytest.raises(ValueError, match="Plain has no embed"):
        backward(Plain(), batch(), 2, nullcontext, lambda loss: loss)
