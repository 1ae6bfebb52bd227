"""What methods that learn with a table share: its columns by level, its towers, going on from another model's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dermis.cases.label_proxies import refuse_label_proxies
from dermis.cases.manifest import Manifest
from dermis.cases.table_schema import LEVELS, TableSchema
from dermis.recipe import to_mapping
from dermis.registry import unknown
from dermis.towers.branches import Branches

CASE = "case"
"""the level of lesion and patient together, in one table"""


@dataclass(kw_only=True)
class TableSettings:
    """What the towers of a table are."""

    encoder: Literal["trace", "ft"] = "trace"
    """tower of a table: TRACE's transformer, or an FT-Transformer with periodic numbers"""
    width: int = 128
    """of a column's token"""
    layers: int = 1
    """of the transformer"""
    heads: int = 2
    """of its attention"""
    columns: list[str] | None = None
    """metadata columns lesion.NAME and patient.NAME that are seen (none: all that the training cases have)"""
    tables: dict[str, TableSchema] = field(default_factory=dict)
    """level -> means, deviations and categories of its columns (none: learnt from the training cases)"""


def learn_tables(cases: Manifest, levels: Sequence[str], columns: list[str] | None = None) -> dict[str, TableSchema]:
    """Level -> schema of its columns over ``cases``, which shall be the training cases.

    Raises ValueError for a column that is no metadata, that no level takes, or that is missing, for a level without
    columns, and for a label proxy that nobody asked for by name (``cases.label_proxies``).
    """
    parts = {level: LEVELS if level == CASE else (level,) for level in levels}
    there = [c for c in cases.table.columns if c in cases and c.split(".")[0] in LEVELS]
    if columns is None:
        refuse_label_proxies(there)
    for column in columns or ():
        if column not in there:
            raise unknown("column in method.columns", column, there)
    chosen = {level: [c for c in columns or there if c.split(".")[0] in prefixes] for level, prefixes in parts.items()}
    for level, found in chosen.items():
        if not found:
            kinds = " or ".join(f"{prefix}.NAME" for prefix in parts[level])
            raise ValueError(f"a table of level {level} needs at least one column {kinds}, and there is none.")
    if lost := set(columns or ()) - {column for found in chosen.values() for column in found}:
        raise ValueError(f"{min(lost)} of method.columns has no effect: the levels here are {', '.join(levels)}.")
    return {level: TableSchema.learn(cases, found) for level, found in chosen.items()}


def add_tables(model: Branches, config: Any, levels: Sequence[str], **spaces: Any) -> dict[str, Any]:
    """Give ``model`` towers for the tables of ``levels`` and the spaces in which it meets them.

    Returns the parts of these names that it had before. Raises ValueError if ``config.tables`` does not say what the
    columns of each level are.
    """
    if set(config.tables) != set(levels):
        given = ", ".join(config.tables) or "none"
        raise ValueError(f"method.tables must describe the levels {', '.join(levels)}; it has {given}.")
    before = {name: model.parts[name] for name in ("tables", "spaces") if name in model.parts}
    schemas = {level: to_mapping(config.tables[level]) for level in levels}
    tables: Any = model.add(
        "tables",
        schemas=schemas,
        encoder=config.encoder,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        numbers="periodic" if config.encoder == "ft" else None,
    )
    model.add("spaces", tables=dict(tables.dims), **spaces)
    return before


def go_on(model: Branches, before: dict[str, Any]) -> None:
    """Give towers and spaces of the same tables the weights of ``before``; ValueError if the tables are others."""
    if not before:
        return
    for name, part in before.items():
        own = model.parts[name]
        same = {k: v.shape for k, v in own.state_dict().items()} == {k: v.shape for k, v in part.state_dict().items()}
        if not same or (name == "tables" and own.schemas != part.schemas):  # type: ignore[union-attr]
            raise ValueError(
                "model.weights was trained on other tables than these: use slimp with method.continual, which keeps "
                "its attention and learns the columns anew, or start from its towers' weights alone."
            )
        own.load_state_dict(part.state_dict())
