"""Tables -> tensors: all rows of a level once, the rows of a batch together, as they are or corrupted for contrast.

Shapes: N rows of the table, B of a batch, F numbers, G categorical columns, C columns of either kind.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dermis.cases.table_schema import Arrays, TableSchema


class LevelRows:
    """The rows of one level, read once.

    ``tensors`` holds all of them under the batch's names: ``{level}_num_BF`` float32, ``{level}_cat_BG`` int64,
    ``{level}_missing_BF`` bool, and ``{level}_same_B`` int64, equal for rows that are equal in every column and in what
    is missing (as the schema reads them: values never seen are all missing).
    """

    def __init__(self, schema: TableSchema, table: pd.DataFrame, level: str) -> None:
        self.arrays = schema.arrays(table)
        self.level, self.rows = level, len(table)
        # a column's number or numbers, then the categories: what is drawn together
        self.columns = len(schema.numbers) + len(schema.circular) + len(schema.categories)
        self.column_of_F = np.array(schema.column_of_F, np.int64)
        self.column_of_G = np.arange(self.columns - len(schema.categories), self.columns)
        self.feature_F, self.feature_G = np.arange(len(self.column_of_F)), np.arange(len(self.column_of_G))
        self.tensors = self._named(*self.arrays) | {f"{level}_same_B": torch.from_numpy(same_rows(self.arrays))}

    def sources(self, row: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        """The row from which each column of ``row`` is taken, (columns,): with probability ``rate`` any, drawn anew for
        each column, else its own.

        So a value comes from its column's own distribution in the table, and what is missing comes along. sin and cos
        of a direction stay together. Corruption of SCARF (Bahri et al., ICLR 2022, Algorithm 1), where a fixed number
        of columns is drawn instead.
        """
        drawn_C = rng.random(self.columns) < rate
        return np.where(drawn_C, rng.integers(self.rows, size=self.columns), row)

    def batch(self, row_B: Sequence[int], source_BC: np.ndarray | None = None) -> dict[str, Tensor]:
        """These rows under the batch's names, each column from its source; ``{level}_same_B`` stays the row's own."""
        row_B = np.asarray(row_B)
        if source_BC is None:
            return {name: values[row_B] for name, values in self.tensors.items()}
        f, g = (source_BC[:, self.column_of_F], self.feature_F), (source_BC[:, self.column_of_G], self.feature_G)
        num_NF, cat_NG, missing_NF = self.arrays
        same = f"{self.level}_same_B"
        return self._named(num_NF[f], cat_NG[g], missing_NF[f]) | {same: self.tensors[same][row_B]}

    def _named(self, num: np.ndarray, cat: np.ndarray, missing: np.ndarray) -> dict[str, Tensor]:
        arrays = {f"{self.level}_num_BF": num, f"{self.level}_cat_BG": cat, f"{self.level}_missing_BF": missing}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def same_rows(arrays: Arrays) -> np.ndarray:
    """(N,) int64: equal numbers for equal rows, counted from 0 in order of appearance."""
    same_N = np.zeros(len(arrays.num_NF), np.int64)
    for column_N in (c for array in arrays for c in array.T):
        value_N, values = pd.factorize(column_N)
        same_N = pd.factorize(same_N * len(values) + value_N)[0].astype(np.int64)
    return same_N
