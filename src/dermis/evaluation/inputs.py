"""What the protocols that learn see of a case: its picture, its metadata, or both; and two controls.

Metadata are the outputs of the model's table towers; a model that has none is given the plain columns, read by a schema
that is learnt from the training cases. ``extrapolated`` (SLIMP, arXiv 2505.23709) pretends that nobody knows any
metadata: every case, training cases too, gets those of the training picture that looks most like it and is no kin, by
the features that the protocols see. ``shuffled`` gives each case those of another one of its split: what is then still
gained over the picture alone is not in the metadata.

Shapes: N cases of a split, F features of a block.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dermis.cases.columns import PICTURES
from dermis.cases.label_proxies import refuse_label_proxies
from dermis.cases.manifest import Manifest
from dermis.cases.table_schema import LEVELS, TableSchema, metadata_columns
from dermis.evaluation.known_values import known_said

if TYPE_CHECKING:
    from dermis.evaluation.extrapolation import Extrapolated
    from dermis.evaluation.setting import Setting


OWN = ("table", "both", "shuffled")
"""inputs that look at the metadata that the scored cases have themselves"""


@dataclass(frozen=True)
class Tables:
    """``features``: a table of cases -> what is seen of it (N, F); ``about`` says what that is, ``notes`` what is not
    seen. ``schemas``: level -> its columns."""

    features: Callable[[pd.DataFrame], np.ndarray]
    about: str
    notes: list[str]
    schemas: Mapping[str, TableSchema]


class Inputs:
    """The cases of a ``Setting`` as its ``inputs`` let them be seen.

    The setting's notes get what is not known of the metadata. Raises ValueError, before any picture is opened, for
    inputs with metadata of a manifest or model that has none, or none that the model knows.
    """

    def __init__(self, setting: "Setting") -> None:
        self.setting, config, self.tables = setting, setting.config, None
        if config.inputs != ["image"]:
            splits = dict.fromkeys(["train", config.split] if set(OWN) & set(config.inputs) else ["train"])
            self.tables = tables_of(setting.model, setting.manifest, list(splits))
            setting.notes += self.tables.notes
        self._read: dict[tuple[str, bool], np.ndarray] = {}

    def blocks(self, kind: str, split: str) -> list[np.ndarray]:
        """Features (N, F) of the split's cases: of the picture, of the table, or of both, picture first."""
        cases, config = self.setting.cases(split), self.setting.config
        image = [] if kind == "table" else [cases.features(self.setting.probe_features)]
        if kind == "image":
            return image
        table_NF = self._table(split, copied=kind == "extrapolated")
        if kind == "shuffled":
            table_NF = table_NF[others(len(table_NF), config.seed)]
        return [*image, table_NF]

    def _table(self, split: str, copied: bool) -> np.ndarray:
        """The tables of a split's cases (N, F), their own or those that they were given; read once."""
        assert self.tables is not None
        if (split, copied) not in self._read:
            cases = self.copies[split] if copied else self.setting.cases(split).manifest
            self._read[split, copied] = self.tables.features(cases.table)
        return self._read[split, copied]

    def about(self, kind: str) -> str:
        """What is seen, in words."""
        picture = f"{self.setting.probe_features} features"
        if kind == "image":
            return picture
        assert self.tables is not None
        if kind == "table":
            return self.tables.about
        whose = {"extrapolated": ", copied from the most similar training picture that is no kin,"}
        whose["shuffled"] = " of another case of the split"
        return f"{picture} and {self.tables.about}{whose.get(kind, '')}"

    @cached_property
    def copies(self) -> "dict[str, Extrapolated]":
        """Split -> the metadata that its cases get from the training cases, of each split that a protocol looks at."""
        from dermis.evaluation.extrapolation import extrapolate  # Pillow, which this room's import leaves out

        assert self.tables is not None
        setting, config = self.setting, self.setting.config
        chooses = "linear_probe" in config.protocols and setting.held_out() is not None
        wanted = ["train", config.split, "valid"] if chooses else ["train", config.split]
        names = list(dict.fromkeys(wanted))
        parts = [setting.cases(name) for name in names]
        vectors = [part.features(setting.probe_features) for part in parts]
        train = parts[0].manifest
        every = replace(train, table=pd.concat([part.manifest.table for part in parts], ignore_index=True))
        pictures = tuple(tuple(every.table[c]) if c in every else () for c in PICTURES)
        same_P2 = _same_pictures(train.root, *pictures)
        seen = {column for schema in self.tables.schemas.values() for column in schema.columns}
        columns = [c for c in metadata_columns(train) if {c, _direction(c)} & seen]
        found = extrapolate(np.concatenate(vectors), every, vectors[0], train, columns, same_P2=same_P2)
        copies, start = {}, 0
        for name, part in zip(names, parts, strict=True):
            rows = slice(start, start := start + len(part.label))
            copies[name] = replace(
                found,
                query=part.manifest,
                table=found.table[rows].reset_index(drop=True),
                source=found.source[rows],
                similarity=found.similarity[rows],
                query_kin=found.query_kin[rows],
            )
        return copies


def tables_of(model: Any, manifest: Manifest, splits: Sequence[str] = ("train",)) -> Tables:
    """How a model's towers, or plain columns, read the tables of these cases; said of those of ``splits``.

    Raises ValueError for a manifest without metadata in its training split, or without any that the towers know, and,
    where there are no towers, for a column that gives the diagnosis away.
    """
    there = metadata_columns(manifest)
    if not there:
        raise ValueError("inputs with metadata need a column lesion.NAME or patient.NAME, and the manifest has none.")
    has_towers = "tables" in getattr(model, "parts", ())
    schemas = model.parts["tables"].schemas if has_towers else _plain(manifest, there)
    columns = list(dict.fromkeys(column for schema in schemas.values() for column in schema.columns))
    if has_towers and not set(columns) & {*there, *map(_direction, there)}:
        raise ValueError(
            f"the model's towers know the columns {', '.join(columns)}; the manifest has {', '.join(there)}."
        )
    whose = "the model's towers" if has_towers else "the training split's schema"
    known, notes = known_said(schemas, whose, {name: manifest.split(name).table for name in splits})

    def features(table: pd.DataFrame) -> np.ndarray:
        # torch, which this room's import leaves out
        from dermis.model.embed_tables import embed_tables, raw_tables

        return embed_tables(model, table) if has_towers else raw_tables(schemas, table)

    if has_towers:
        about = f"the model's towers of {' and '.join(schemas)}: {known} of {len(columns)} columns known"
    else:
        about = f"{len(columns)} plain columns by the training split's schema: no table towers"
    return Tables(features, f"the table ({about})", notes, schemas)


def _plain(manifest: Manifest, columns: Sequence[str]) -> dict[str, TableSchema]:
    """Level -> all of its columns, as the training cases have them."""
    whose = "method.columns when a model with table towers is trained: one without them is given all"
    refuse_label_proxies(columns, whose)
    train = manifest.split("train")
    return {level: TableSchema.learn(train, level, empty=True) for level in LEVELS}


def _direction(column: str) -> str:
    """The direction that NAME_sin or NAME_cos is a part of."""
    return column.removesuffix("_sin").removesuffix("_cos")


def others(cases: int, seed: int) -> np.ndarray:
    """For each case another one (N,), each chosen once: around a random circle, each takes its neighbour's."""
    if cases < 2:
        raise ValueError("input `shuffled` needs at least two cases in every split.")
    circle = np.random.default_rng(seed).permutation(cases)
    other_N = np.empty(cases, np.int64)
    other_N[circle] = np.roll(circle, 1)
    return other_N


@lru_cache(maxsize=2)
def _same_pictures(root: Path, image: tuple[str | None, ...], dermoscopy: tuple[str | None, ...]) -> np.ndarray:
    """Pairs of cases that show one picture. Kept: every model that is asked about the cases shares them."""
    from dermis.cases.kinship import same_pictures

    shown = {"image": image} | ({"dermoscopy": dermoscopy} if dermoscopy else {})
    cases = Manifest(pd.DataFrame(shown, dtype=object), root)
    return same_pictures(cases, cases.select([]))
