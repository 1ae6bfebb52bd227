"""Tables to vectors: what a model's towers say of the rows, or the plain features of a model that has no such towers.

Shapes: N rows, W widths of the levels' towers together, F plain features.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from dermis.batch.tables import LevelRows
from dermis.cases.table_schema import TableSchema
from dermis.model.look import evaluating
from dermis.registry import unknown
from dermis.towers.branches import Branches


def embed_tables(
    model: nn.Module, table: pd.DataFrame, *, levels: Sequence[str] | None = None, batch_size: int = 4096
) -> np.ndarray:
    """The outputs of the model's table towers side by side, float32 (N, W), in the order of ``levels`` (None: all).

    ``table`` holds the columns lesion.NAME and patient.NAME; one that it lacks is missing in every row. Raises
    ValueError for a model without table towers, a level that it has no tower for, and a column of the wrong kind.
    """
    if not isinstance(model, Branches) or "tables" not in model.parts:
        raise ValueError("this model has no towers for tables: probe its plain columns instead (`raw_tables`).")
    towers: Any = model.parts["tables"]
    levels = towers.names if levels is None else levels
    if wrong := [level for level in levels if level not in towers.schemas]:
        raise unknown("level of the table", wrong[0], towers.schemas)
    device, found = next(model.parameters()).device, []
    with evaluating(model), torch.inference_mode():
        for level in levels:
            whole = LevelRows(towers.schemas[level], table, level).tensors
            out_NW = np.empty((len(table), towers.dims[level]), np.float32)
            for start in range(0, len(table), batch_size):
                rows = slice(start, start + batch_size)
                some = {name: values[rows].to(device) for name, values in whole.items()}
                out_NW[rows] = towers.encode(level, some).float().cpu().numpy()
            found.append(out_NW)
    return np.concatenate(found, axis=1)


def raw_tables(schemas: TableSchema | Mapping[str, TableSchema], table: pd.DataFrame) -> np.ndarray:
    """What a probe sees of a table without any tower, float32 (N, F), schema after schema.

    Of each schema: its numbers, standardised, 0 where missing (a direction is its sin and cos); for each of these 1
    where it is missing; for each category column one place for missing (or never seen) and one for each value. Raises
    ValueError for a column of the wrong kind.
    """
    parts = []
    for schema in [schemas] if isinstance(schemas, TableSchema) else schemas.values():
        num_NF, cat_NG, missing_NF = schema.arrays(table)
        parts += [num_NF, missing_NF.astype(np.float32)]
        parts += [
            np.eye(size + 1, dtype=np.float32)[cat_N]
            for cat_N, size in zip(cat_NG.T, schema.category_sizes, strict=True)
        ]
    return np.concatenate(parts, axis=1)
