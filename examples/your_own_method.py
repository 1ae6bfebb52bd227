"""A method of your own: a module that turns a batch into a dict with `loss`, and a name that recipes can say.

Here: CLIP with a margin on the cosine of the right pair. The loop gives it batches, accumulation and resuming without
knowing it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dermis.losses.contrastive import clip
from dermis.methods import method
from dermis.methods.clip import CLIP


@dataclass(kw_only=True)
class MarginConfig:
    """Settings of the example."""

    margin: float = 0.1
    """taken off the cosine of the right pair, so that it has to win clearly"""
    max_logit_scale: float = 100.0
    """as CLIP's"""
    learn_scale: bool = True
    """as CLIP's"""


@method("margin-clip")
class MarginCLIP(CLIP):
    """CLIP whose right pair has to win by a margin."""

    Config = MarginConfig

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        image_BE, text_BE = embeddings["image"], embeddings["text"]
        # one more coordinate, in which only the pair itself meets, carries the margin
        own_BB = torch.eye(len(image_BE), device=image_BE.device) * self.config.margin**0.5
        scale = self.model.logit_scale.exp()
        return {"loss": clip(torch.cat([image_BE, -own_BB], 1), torch.cat([text_BE, own_BB], 1), scale)}


if __name__ == "__main__":
    u, v = (torch.nn.functional.normalize(torch.randn(8, 16), dim=-1) for _ in range(2))
    print("registered:", "margin-clip" in method, "| CLIP's loss here:", float(clip(u, v, torch.tensor(10.0))))
