"""Strings to text embeddings through a two-tower model, each distinct string once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn


def embed_texts(model: "nn.Module | Any", texts: Sequence[str], *, batch: int = 256) -> np.ndarray:
    """Unit-length embeddings (M, D) float32 of M strings, in evaluation mode and without gradient.

    ``model`` follows the two-tower contract: ``model.text.tokenizer(texts)`` and
    ``model.encode_text(tokens, offsets_S1, normalize=True)``. Short strings are encoded beside short ones.
    """
    import torch

    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    parameter = next(iter(model.parameters()), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            rows = []
            for start in range(0, len(distinct), batch):
                ids = model.text.tokenizer(distinct[start : start + batch])
                tokens = torch.tensor([token for one in ids for token in one], dtype=torch.int64, device=device)
                offsets = torch.tensor([0, *map(len, ids)], dtype=torch.int64, device=device).cumsum(0)
                rows.append(model.encode_text(tokens, offsets, normalize=True).float().cpu().numpy())
    finally:
        model.train(was_training)
    embedding_SD = np.concatenate(rows)
    position = {text: s for s, text in enumerate(distinct)}
    return embedding_SD[[position[text] for text in texts]]
