"""A two-tower model small enough for float64 by hand, and a batch of six cases whose captions repeat."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.batch.slices import slices
from dermis.batch.texts import ragged
from dermis.towers import Features
from dermis.towers.two_tower import TwoTower

CAPTIONS = ["a mole", "melanoma on the back", "a mole", "basal cell carcinoma", "a mole", "melanoma on the back"]


class Pixels(nn.Module):
    """An image tower: one layer over the pixels."""

    dim = 7

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 4 * 4, self.dim)

    def features(self, image_BCHW: Tensor) -> Features:
        return Features(torch.tanh(self.layer(image_BCHW.flatten(1))))


class Letters(nn.Module):
    """A text tower: the mean of its tokens' vectors. It counts the strings it was given."""

    dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(128, self.dim)
        self.encoded = 0

    def features(self, tokens: Tensor, offsets_S1: Tensor) -> Features:
        self.encoded += len(offsets_S1) - 1
        return Features(F.embedding_bag(tokens, self.table.weight, offsets_S1[:-1]))


def tiny_two_tower(logit_bias: float | None = None) -> TwoTower:
    torch.manual_seed(0)
    model = TwoTower(Pixels(), Letters(), embed_dim=5, logit_scale_init=9.0, logit_bias_init=logit_bias)
    return model.double()


def tiny_batch(captions: list[str]) -> dict[str, Tensor]:
    """Cases with one caption and, here and there, a text of another kind."""
    texts = [[(0, caption), *([(1, "disease")] if i % 2 else [])] for i, caption in enumerate(captions)]
    generator = torch.Generator().manual_seed(1)
    return {
        "row_B": torch.arange(len(captions)) + 10,
        "image_BVCHW": torch.randn(len(captions), 1, 3, 4, 4, generator=generator, dtype=torch.float64),
        **ragged(texts, lambda strings: [[ord(letter) for letter in string] for string in strings]),
    }


def outcome(page: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss, and the gradient of each weight that has one."""
    loss = page(batch)["loss"]
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad for name, p in page.named_parameters() if p.grad is not None}}


def _half(number, build, make_batch, each):
    own = list(slices(make_batch(), 2))[number]
    return [outcome(build(**settings), own) for settings in each]


def assert_two_ranks_are_one(two_ranks, build, make_batch, each=({},)) -> None:
    """Half of the batch on each of two ranks: their mean loss and gradients are those of the whole, for ``each``
    settings. ``build`` and ``make_batch`` are functions of a test module, which the ranks import."""
    ranks = two_ranks(_half, build, make_batch, each)
    for n, settings in enumerate(each):
        for key, expected in outcome(build(**settings), make_batch()).items():
            mean = sum(rank[n][key] for rank in ranks) / 2
            torch.testing.assert_close(mean, expected, rtol=1e-10, atol=1e-12, msg=lambda m, k=key: f"{k}: {m}")


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return tiny_batch(CAPTIONS)
