"""Several labels of one case from one vector: a head a label, and a module by which they learn of each other.

SM3 (Wang et al., arXiv 2310.18583, Section III.E), equations (6) and (7):

    h_k = q_k(W(p_1(h), …, p_K(h))_k),    p_k a projection, W the label relation, q_k the classification head

Shapes: B cases, D features, L labels, W width of a label's embedding, C classes of a label.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dermis.recipe import changed
from dermis.registry import unknown

Relation = Literal["no_proj", "proj", "mlp", "msa", "tel", "te"]
RELATIONS: dict[str, str] = {
    "no_proj": "heads on the features themselves; without hidden layers, the multi-label baseline",
    "proj": "a linear projection a label",
    "mlp": "a projection with ReLU and dropout a label: heads with one hidden layer",
    "msa": "proj, then multi-head self-attention over the labels",
    "tel": "proj, then one Transformer encoder layer over the labels (SM3)",
    "te": "proj, then a Transformer encoder of several layers",
}
assert set(RELATIONS) == set(get_args(Relation))
USED_BY = {
    "width": ("proj", "mlp", "msa", "tel", "te"),
    "heads": ("msa", "tel", "te"),
    "feedforward": ("tel", "te"),
    "layers": ("te",),
    "dropout": ("mlp", "msa", "tel", "te"),
}
"""setting -> the relations that look at it"""


def refuse_without_effect(config: Any) -> None:
    """Raises ValueError if a method's settings change one that its ``relation`` does not look at."""
    for name in changed(config, USED_BY):
        if config.relation not in USED_BY[name]:
            users = ", ".join(USED_BY[name])
            raise ValueError(f"{name} has no effect with relation {config.relation}: it belongs to {users}.")


class LabelHeads(nn.Module):
    """Features (B, D) -> a row of logits for each label.

    ``dims``: picture column -> width of its tower. ``classes``: number of classes of each label, or label -> its
    classes' names in order, which a saved model then knows. ``bias`` belongs to the heads q_k; they start from
    N(0, 0.01) and zero, as released. The Transformer's sequence is that of the labels, never the batch. Raises
    ValueError for an unknown relation, and for ``heads`` that do not divide ``width``.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        classes: Mapping[str, Sequence[str]] | Sequence[int],
        *,
        relation: str = "tel",
        width: int = 512,
        heads: int = 1,
        feedforward: int = 128,
        dropout: float = 0.1,
        layers: int = 6,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if relation not in RELATIONS:
            raise unknown("label relation", relation, RELATIONS)
        if width % heads:
            raise ValueError(f"heads must divide width; {heads} does not divide {width}.")
        self.classes = {k: list(v) for k, v in classes.items()} if isinstance(classes, Mapping) else None
        counts = [len(c) for c in classes.values()] if isinstance(classes, Mapping) else list(classes)
        self.relation, dim = relation, sum(dims.values())
        self.projections = nn.ModuleList()
        self.mixer: nn.Module = nn.Identity()
        if relation != "no_proj":
            self.projections.extend(nn.Linear(dim, width) for _ in counts)
        if relation == "mlp":
            self.mixer = nn.Sequential(nn.ReLU(), nn.Dropout(dropout))
        elif relation == "msa":
            self.mixer = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        elif relation in ("tel", "te"):
            layer = nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True)
            self.mixer = (
                layer if relation == "tel" else nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
            )
        self.heads = nn.ModuleList(nn.Linear(dim if relation == "no_proj" else width, c, bias=bias) for c in counts)
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.01)  # type: ignore[arg-type]
            if bias:
                nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def embed(self, h_BD: Tensor) -> Tensor:
        """The labels' embeddings (B, L, W), each with what the relation lets it know of the others; for ``no_proj``
        the features themselves, once for all labels: (B, 1, D)."""
        if self.relation == "no_proj":
            return h_BD[:, None]
        p_BLW = torch.stack([project(h_BD) for project in self.projections], dim=1)
        if isinstance(self.mixer, nn.MultiheadAttention):
            return self.mixer(p_BLW, p_BLW, p_BLW, need_weights=False)[0]
        return self.mixer(p_BLW)

    def logits(self, e_BLW: Tensor) -> list[Tensor]:
        """Each label's logits (B, C) from the embeddings."""
        several = e_BLW.shape[1] > 1
        return [head(e_BLW[:, i if several else 0]) for i, head in enumerate(self.heads)]

    def forward(self, h_BD: Tensor) -> list[Tensor]:
        """Features of a case's pictures side by side -> each label's logits (B, C)."""
        return self.logits(self.embed(h_BD))

    def probabilities(self, h: Mapping[str, Tensor]) -> list[Tensor]:
        """Each picture's features (B, D) -> each label's probabilities (B, C)."""
        return [logits_BC.softmax(1) for logits_BC in self(torch.cat(list(h.values()), dim=1))]
