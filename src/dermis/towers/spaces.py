"""The spaces in which pictures and metadata of a lesion, and of a patient, are compared (SLIMP, Figure 1).

Shapes: B lesions, P patients, E width of a space.
"""

from collections.abc import Mapping

import torch
from timm.layers import Mlp
from torch import Tensor, nn

from dermis.towers.pooling import OwnerPooling

PATIENT = "patient"


class Spaces(nn.Module):
    """Projections of lesions and patients.

    ``dims``: picture column -> width of its tower. ``tables``: level of metadata -> width of its tower. A level other
    than ``patient`` shares a space with the lesion's pictures: heads ``image`` and that level's. Level ``patient``
    shares one with the phenotype, which is pooled from the lesion's pictures and, where there is a level ``lesion``,
    its metadata beside them: heads ``phenotype`` and ``patient``. Heads have two layers. Raises ValueError for another
    pooling.
    """

    def __init__(
        self, dims: Mapping[str, int], *, tables: Mapping[str, int], width: int = 128, pooling: str = "mean"
    ) -> None:
        super().__init__()
        pictures = sum(dims.values())
        widths = {level: dim for level, dim in tables.items() if level != PATIENT}
        seen = pictures + sum(widths.values())
        if widths:
            widths["image"] = pictures
        if PATIENT in tables:
            self.pooling = OwnerPooling(pooling, seen)
            widths |= {"phenotype": seen, PATIENT: tables[PATIENT]}
        self.heads = nn.ModuleDict({name: Mlp(dim, dim, width) for name, dim in widths.items()})

    def project(self, name: str, h_BD: Tensor) -> Tensor:
        """Features into their space (B, E), not normalised."""
        return self.heads[name](h_BD)

    def phenotype(self, picture_BD: Tensor, table_BW: Tensor | None, patient_B: Tensor, patients: int) -> Tensor:
        """Lesions of patients 0 to ``patients`` - 1 -> (P, E), not normalised."""
        h_BD = picture_BD if table_BW is None else torch.cat([picture_BD, table_BW], dim=1)
        return self.heads["phenotype"](self.pooling(h_BD, patient_B, patients))
