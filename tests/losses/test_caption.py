"""caption: against the equation token by token, for each reduction."""

import math

import pytest
import torch

from dermis.losses import caption

PAD = 9
TARGETS = torch.tensor([[1, 4, 0, PAD], [2, PAD, PAD, PAD], [3, 3, 1, 0], [PAD, PAD, PAD, PAD]])


def expected(logits, reduction):
    per_case = [
        [-torch.log_softmax(logits[b, place], 0)[t] for place, t in enumerate(case) if t != PAD]
        for b, case in enumerate(TARGETS.tolist())
    ]
    tokens = [x for case in per_case for x in case]
    if reduction == "token":
        return sum(tokens) / len(tokens)
    if reduction == "sequence_sum":
        return sum(tokens) / len(per_case)
    return sum(sum(case) / len(case) for case in per_case if case) / 3


@pytest.mark.parametrize("reduction", ["token", "sequence_sum", "case_mean"])
def test_equals_the_equation(det, reduction):
    logits = det((4, 4, 5), 61).requires_grad_()
    loss, loops = caption(logits, TARGETS, pad=PAD, reduction=reduction), expected(logits, reduction)
    torch.testing.assert_close(loss, loops, atol=1e-12, rtol=0)
    ours, theirs = (torch.autograd.grad(x, logits)[0] for x in (loss, loops))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary():
    assert caption(torch.zeros(4, 4, 5), TARGETS, pad=PAD).item() == pytest.approx(math.log(5))


@pytest.mark.parametrize("reduction", ["token", "sequence_sum", "case_mean"])
def test_nothing_to_say_costs_nothing(reduction):
    logits = torch.zeros(2, 3, 5, requires_grad=True)
    loss = caption(logits, torch.full((2, 3), PAD), pad=PAD, reduction=reduction)
    assert loss.item() == 0
    assert torch.autograd.grad(loss, logits)[0].abs().max() == 0


def test_wrong_arguments_are_explained():
    with pytest.raises(ValueError, match=r"reduction of caption.*sequence_sum"):
        caption(torch.zeros(4, 4, 5), TARGETS, pad=PAD, reduction="sum")
    with pytest.raises(ValueError, match=r"not \(4, 3, 5\) with \(4, 4\)"):
        caption(torch.zeros(4, 3, 5), TARGETS, pad=PAD)
