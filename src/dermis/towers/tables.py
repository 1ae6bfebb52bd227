"""A part of a model: a tower for each level of the table, which knows the columns that it was taught.

Shapes: B cases, W width of a tower.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dermis.cases.table_schema import TableSchema
from dermis.recipe import build
from dermis.registry import unknown
from dermis.towers.table import build_table_tower


class TableTowers(nn.Module):
    """``schemas``: level -> its ``TableSchema`` as plain data (``recipe.to_mapping``); a tower of one kind for each.

    ``dims`` (of the picture towers) is not used: each level has its own entry in the attribute ``dims``. Settings that
    are None are the encoder's own default. Raises ValueError for a schema that is none, a level without columns, and
    what the tower raises for its settings.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        schemas: Mapping[str, Mapping[str, Any]],
        encoder: str = "trace",
        width: int = 128,
        layers: int = 1,
        heads: int = 2,
        numbers: str | None = None,
        read: str | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.schemas = {level: build(TableSchema, plain, f"schemas.{level}") for level, plain in schemas.items()}
        if bare := [level for level, schema in self.schemas.items() if not schema.columns]:
            raise ValueError(f"the table has no columns of level {', '.join(bare)}: leave the level out.")
        settings = {"width": width, "layers": layers, "heads": heads, "numbers": numbers}
        settings |= {"read": read, "dropout": dropout}
        self.towers = nn.ModuleDict(
            {
                level: build_table_tower(encoder, len(schema.column_of_F), schema.category_sizes, **settings)
                for level, schema in self.schemas.items()
            }
        )
        self.dims = {level: tower.dim for level, tower in self.towers.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The levels, in order."""
        return tuple(self.schemas)

    def encode(self, level: str, batch: Mapping[str, Tensor]) -> Tensor:
        """The rows of a batch (``{level}_num_BF``, ``{level}_cat_BG``, ``{level}_missing_BF``) -> (B, W).

        Raises ValueError for a level that the model has no tower for.
        """
        if level not in self.schemas:
            raise unknown("level of the table", level, self.schemas)
        row = (batch[f"{level}_{name}"] for name in ("num_BF", "cat_BG", "missing_BF"))
        return self.towers[level].features(*row).pooled_BD  # type: ignore[operator]
