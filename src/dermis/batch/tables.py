"""Table columns -> tensors: numbers standardised, categories as integers, and a mask of what is missing.

What is learnt from the training cases (means, deviations, category lists) is plain data, so it can be stored beside the
model and applied to a table that has never been seen.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dermis.cases.manifest import Manifest

LEVELS = ("lesion", "patient")


@dataclass(frozen=True)
class TableSchema:
    """Columns of one level. A number is stored as (x - mean) / deviation with 0 for missing; a category as 1 + its
    place in the list, with 0 for missing or never seen."""

    numbers: dict[str, tuple[float, float]]
    """column -> (mean, standard deviation) over the training cases, in the column's own unit"""
    categories: dict[str, list[str]]
    """column -> its values, in order"""

    @classmethod
    def learn(cls, manifest: Manifest, level: str) -> "TableSchema":
        """Means, deviations and category lists of the columns ``level.*`` of the training cases."""
        columns = [c for c in manifest.table.columns if c.startswith(f"{level}.") and c in manifest]
        numbers = {}
        for column in columns:
            if column not in manifest.categories:
                values = manifest.table[column].astype(float)
                deviation = float(values.std(ddof=0))
                numbers[column] = (float(values.mean()), deviation if deviation > 0 else 1.0)
        return cls(numbers, {c: list(manifest.categories[c]) for c in columns if c in manifest.categories})

    def tensors(self, table: pd.DataFrame, level: str) -> dict[str, Tensor]:
        """``{level}_num_NF`` float32, ``{level}_cat_NG`` int64 and ``{level}_missing_NF`` bool for all N rows.

        A column that the table lacks is missing for every row.
        """
        rows = len(table)
        num_NF = np.full((rows, len(self.numbers)), np.nan, dtype=np.float64)
        for i, (column, (mean, deviation)) in enumerate(self.numbers.items()):
            if column in table:
                num_NF[:, i] = (table[column].astype(float).to_numpy(na_value=np.nan) - mean) / deviation
        cat_NG = np.zeros((rows, len(self.categories)), dtype=np.int64)
        for i, (column, values) in enumerate(self.categories.items()):
            if column in table:
                place = {value: j + 1 for j, value in enumerate(values)}
                cat_NG[:, i] = [0 if pd.isna(v) else place.get(str(v), 0) for v in table[column]]
        missing_NF = np.isnan(num_NF)
        return {
            f"{level}_num_BF": torch.from_numpy(np.where(missing_NF, 0.0, num_NF).astype(np.float32)),
            f"{level}_cat_BG": torch.from_numpy(cat_NG),
            f"{level}_missing_BF": torch.from_numpy(missing_NF),
        }
