"""O-MAKE's soft labels as an addition to a method: related diseases share the target, ever less as training goes on.

Li et al., IEEE TMI (arXiv 2512.03445): β 0.5 falling to 0 by a cosine, T 0.07. The equation: ``losses.soft_labels``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.distributed import first_own_row, gather_ragged, gather_rows
from dermis.language.ontology import ontology_of
from dermis.losses.multi_aspect import DISEASE
from dermis.losses.soft_labels import annealed, ontology_contrast


class OntologyLabels(nn.Module):
    """``source``: an ontology's file, or ``default``; ``beta``: share of the soft target at the first step."""

    done: Tensor
    similarity_NN: Tensor  # noqa: N815 (shapes are in the names)

    def __init__(self, source: str, beta: float) -> None:
        super().__init__()
        self.ontology = ontology_of(source)
        self.beta, self.steps = beta, 0
        self.place = {node: i for i, node in enumerate(self.ontology.nodes)}
        similarity = torch.from_numpy(self.ontology.similarity(self.ontology.nodes)).float()
        self.register_buffer("similarity_NN", similarity, persistent=False)
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    def labels(self, diagnoses: list[str | None]) -> list[int]:
        """The place of each diagnosis's node, -1 for none. Raises ValueError if the ontology knows none of them."""
        nodes = [self.ontology.find(name) if isinstance(name, str) else None for name in diagnoses]
        if not any(nodes):
            raise ValueError("the ontology knows none of the training cases' diagnoses: soft labels have no effect.")
        return [-1 if node is None else self.place[node] for node in nodes]

    def forward(
        self, embeddings: dict[str, Tensor], texts: dict[str, Tensor], label_B: Tensor, scale: Tensor
    ) -> Tensor:
        """Pictures of all ranks against each disease's text, the mean of those in the batch where wordings differ."""
        is_disease_T = (texts["kind_T"] == DISEASE) & (label_B[texts["owner_T"]] >= 0)
        text_UE = gather_ragged(embeddings["text"][is_disease_T])[0]
        owner_U = gather_ragged(texts["owner_T"][is_disease_T] + first_own_row(len(label_B)))[0]
        image_BE, label_B = gather_rows(embeddings["image"]), gather_rows(label_B)
        node_K, disease_U = label_B[owner_U].unique(return_inverse=True)
        told_KE = text_UE.new_zeros(len(node_K), text_UE.shape[1]).index_add(0, disease_U, text_UE)
        # a case whose disease nobody describes has nothing to be compared with
        among_K = (label_B[:, None] == node_K).to(torch.int64)
        label_B = torch.where(among_K.any(1), among_K.argmax(1) if len(node_K) else -1, -1)
        return ontology_contrast(
            image_BE,
            F.normalize(told_KE, dim=-1),
            label_B,
            self.similarity_NN[node_K][:, node_K].to(image_BE.dtype),
            scale,
            beta=annealed(self.beta, int(self.done), max(self.steps, 1)),
        )
