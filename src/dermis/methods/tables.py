"""What methods that learn with a table share: its columns by level, its towers, going on from another model's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dermis.cases.label_proxies import refuse_label_proxies
from dermis.cases.manifest import Manifest
from dermis.cases.table_schema import HOW_COLUMNS_COME, LEVELS, TableSchema, metadata_columns
from dermis.recipe import refuse_out_of_range, to_mapping
from dermis.registry import unknown
from dermis.towers.branches import Branches

PARTS = ("tables", "spaces")
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

    def __post_init__(self) -> None:
        refuse_out_of_range(self, at_least_1=("width", "layers", "heads"))
        described = {column for schema in self.tables.values() for column in schema.columns}
        turning = {
            f"{c}_{part}": c for schema in self.tables.values() for c in schema.circular for part in ("sin", "cos")
        }
        named = {turning.get(column, column) for column in self.columns or ()}
        if self.tables and self.columns is not None and named != described:
            other = min(named ^ described)
            raise ValueError(
                f"method.columns and method.tables disagree about {other}: the tables of a finished recipe say which "
                "columns there are; leave method.columns as it is there, or empty method.tables to learn them again."
            )


def learn_tables(cases: Manifest, levels: Sequence[str], columns: list[str] | None = None) -> dict[str, TableSchema]:
    """Level -> schema of its columns over ``cases``, which shall be the training cases.

    Raises ValueError for a column that is no metadata, that no level takes, or that is missing, for a level without
    columns, and for a label proxy that nobody asked for by name (``cases.label_proxies``).
    """
    parts = {level: LEVELS if level == CASE else (level,) for level in levels}
    there = metadata_columns(cases)
    if columns is None:
        refuse_label_proxies(there)
    for column in columns or ():
        if column in cases.table and column not in cases:
            raise ValueError(f"{column} of method.columns has no value in any of the {len(cases)} training cases.")
        if column not in there:
            raise unknown("column in method.columns", column, there)
    chosen = {level: [c for c in columns or there if c.split(".")[0] in prefixes] for level, prefixes in parts.items()}
    for level, found in chosen.items():
        if not found:
            kinds = " or ".join(f"{prefix}.NAME" for prefix in parts[level])
            lacks = f"a table of level {level} needs at least one column {kinds}, and there is none."
            raise ValueError(f"{lacks} {HOW_COLUMNS_COME}")
    if lost := set(columns or ()) - {column for found in chosen.values() for column in found}:
        raise ValueError(f"{min(lost)} of method.columns has no effect: the levels here are {', '.join(levels)}.")
    return {level: TableSchema.learn(cases, found) for level, found in chosen.items()}


def add_tables(model: Branches, config: Any, levels: Sequence[str], **spaces: Any) -> dict[str, Any]:
    """Give ``model`` towers for the tables of ``levels`` and the spaces in which it meets them.

    Returns the parts of these names that it had before, with their settings. Raises ValueError if ``config.tables``
    does not say what the columns of each level are.
    """
    if set(config.tables) != set(levels):
        given = ", ".join(config.tables) or "none"
        raise ValueError(f"method.tables must describe the levels {', '.join(levels)}; it has {given}.")
    before = {name: (model.parts[name], model.settings[name]) for name in PARTS if name in model.parts}
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
    """Give towers and spaces of the same tables the weights of ``before``; ValueError if they are others."""
    if before and before["tables"][0].schemas != model.parts["tables"].schemas:
        raise ValueError(
            "model.weights was trained on other tables than these: use slimp with method.continual, which keeps its "
            "attention and learns the columns anew, or start from its towers' weights alone."
        )
    for name, (part, settings) in before.items():
        same_settings(name, settings, model.settings[name])
        model.parts[name].load_state_dict(part.state_dict())


def same_settings(part: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise ValueError for the first setting of a part, but its schemas, that model.weights has otherwise.

    Settings and not shapes are compared: attention of two heads and of four has the same shapes.
    """
    for name in sorted(old.keys() | new.keys()):
        if name != "schemas" and old.get(name) != new.get(name):
            raise ValueError(
                f"model.weights was trained with {name} {old.get(name)!r} of its {part}, and this recipe says "
                f"{new.get(name)!r}: set it alike."
            )
