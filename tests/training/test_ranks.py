"""Two ranks take one rank's steps: the whole loop, with gathered negatives, on real batches."""

import pytest
import torch
import torch.nn.functional as F

from dermis.cases.manifest import Manifest
from dermis.distributed import first_own_row, gather_rows, rank, world_size
from dermis.training.config import TrainingConfig
from dermis.training.loop import train
from dermis.training.ranks import any_rank
from tests.training.conftest import Twins, two_views


class GatheredTwins(Twins):
    """Twins whose negatives come from all ranks; without dropout, which ranks draw differently."""

    def __init__(self):
        super().__init__()
        self.tower[3].p = 0.0

    def loss(self, embeddings, batch):
        logits = embeddings["first"] @ gather_rows(embeddings["second"]).T / 0.2
        own = torch.arange(len(logits)) + first_own_row(len(logits))
        return {"loss": F.cross_entropy(logits, own)}


# eps well above the gradients' rounding: AdamW divides by their size, which would blow 1e-8 up to a whole step
def steps(manifest, folder, accumulate):
    torch.manual_seed(0 if rank() == 0 else 999)  # rank 1 starts elsewhere: the loop must make them equal
    method = GatheredTwins()
    size = 12 // world_size()
    batches = two_views(manifest, size, family="light")
    config = TrainingConfig(epochs=2, batch_size=size, lr=1e-2, accumulate=accumulate, workers=0, eps=1e-3)
    train(method, batches, config, folder, torch.device("cpu"))
    return method.state_dict()


def _worker(number, manifest, folder, accumulate):
    assert any_rank(number == 1, torch.device("cpu"))
    assert not any_rank(False, torch.device("cpu"))
    return steps(manifest, folder, accumulate)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_end_where_one_does(photographs: Manifest, tmp_path, two_ranks, accumulate):
    one = steps(photographs, tmp_path / "alone", accumulate)
    for other in two_ranks(_worker, photographs, tmp_path / "run", accumulate):
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)
