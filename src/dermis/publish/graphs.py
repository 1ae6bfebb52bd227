"""What becomes a graph: a tower with its projection as one function of tensors, and inputs to compare it by.

Shapes: B pictures, S texts, L tokens of the longest, D width of a tower, E width of the common space.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dermis.cases.synthetic.make import latent_cases
from dermis.cases.synthetic.render import clinical
from dermis.model.look import evaluation_view
from dermis.towers import Transform
from dermis.towers.text import TextTower


class ImageGraph(nn.Module):
    """Pictures -> pooled vectors, and embeddings where there is a ``head``."""

    def __init__(self, tower: nn.Module, head: nn.Module | None) -> None:
        super().__init__()
        self.tower, self.head = tower, head

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> (B, D) and (B, E)."""
        pooled_BD = self.tower.features(image).pooled_BD
        return (pooled_BD,) if self.head is None else (pooled_BD, self.head(pooled_BD))


class TextGraph(nn.Module):
    """Texts padded at the end -> embeddings, of the causal text tower."""

    def __init__(self, tower: TextTower, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = tower.encoder, head

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor]:
        """(S, L) ids and (S,) lengths -> (S, E)."""
        S, L = tokens.shape
        x_SLD = self.encoder.token_embedding(tokens) + self.encoder.positional_embedding[:L]
        causal_LL = torch.full((L, L), -torch.inf, dtype=x_SLD.dtype).triu(1)
        x_SLD = self.encoder.transformer(x_SLD, attn_mask=causal_LL)
        return (self.head(self.encoder.ln_final(x_SLD[torch.arange(S), lengths - 1])),)


def pictures_to_compare(transform: Transform, batches: Sequence[int], seed: int = 0) -> list[dict[str, Tensor]]:
    """For each of ``batches`` as much white noise, then that many synthetic skin pictures as the tower sees them."""
    random, cases = torch.Generator().manual_seed(seed), latent_cases(cases=max(batches), seed=seed)
    skin_BCHW = torch.stack([torch.from_numpy(evaluation_view(clinical(case), transform)) for case in cases])
    noise = [torch.randn(batch, 3, *transform.size, generator=random) for batch in batches]
    return [{"image": image_BCHW} for image_BCHW in (*noise, *(skin_BCHW[:batch] for batch in batches))]


def texts_to_compare(tower: TextTower, batches: Sequence[int], seed: int = 0) -> list[dict[str, Tensor]]:
    """For each of ``batches`` as many texts of random tokens and lengths, and once texts as long as the tower takes."""
    random, longest = torch.Generator().manual_seed(seed), tower.encoder.context_length
    asked = []
    for batch, length in zip((*batches, max(batches)), (*[max(3, longest // 2)] * len(batches), longest), strict=True):
        lengths_S = torch.randint(2, length + 1, (batch,), generator=random)
        lengths_S[-1] = length
        tokens_SL = torch.randint(1, tower.encoder.vocab_size, (batch, length), generator=random)
        asked.append({"tokens": tokens_SL, "lengths": lengths_S})
    return asked
