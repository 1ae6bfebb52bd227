"""Inputs that any language can make again (a splitmix64 counter), and the unit-length pairs most tests use."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

BITS = (1 << 64) - 1


def splitmix(shape: tuple[int, ...], seed: int) -> Tensor:
    values = []
    for i in range(torch.Size(shape).numel()):
        z = (seed * 0xD1B54A32D192ED03 + (i + 1) * 0x9E3779B97F4A7C15) & BITS
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & BITS
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & BITS
        z ^= z >> 31
        values.append((2 * ((z >> 11) / 2**53) - 1) * 3**0.5)
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


@pytest.fixture
def det() -> Callable[[tuple[int, ...], int], Tensor]:
    assert splitmix((3,), 31).tolist() == [0.24045628387450357, -0.7620173960911778, 0.9498935341049181]
    return splitmix


@pytest.fixture
def pairs() -> tuple[Tensor, Tensor]:
    """Seven unit-length pairs of width 5 in float64, with gradient."""
    u, v = (F.normalize(splitmix((7, 5), seed), dim=-1).requires_grad_() for seed in (3, 4))
    return u, v


@pytest.fixture
def same_text() -> Tensor:
    """Strings of the seven pairs: 40 three times, 7 twice, two once."""
    return torch.tensor([40, 7, 40, 9, 7, 40, 3])


@pytest.fixture
def shared_pairs(pairs: tuple[Tensor, Tensor], same_text: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs, with equal text rows where the string is equal."""
    u, v = pairs
    first_of = [same_text.tolist().index(text) for text in same_text.tolist()]
    return u, v.detach()[first_of].requires_grad_()


@pytest.fixture
def kept_for_backward() -> Callable[[Callable[[], object]], int]:
    """Numbers that autograd keeps while a function runs, each storage once."""

    def count(run: Callable[[], object]) -> int:
        kept: dict[int, int] = {}

        def pack(x: Tensor) -> Tensor:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes() // x.element_size()
            alive.append(x)
            return x

        alive: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            run()
        return sum(kept.values())

    return count
