"""The cases of a suite's row: its picture and label, its split by the suites' rule, what stops it before any picture.

Two names tell later whether a row is still true, and whether two models saw the same: ``cases_key`` and
``pictures_key``.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from dermis.cases.columns import GROUP_KEYS, PICTURES
from dermis.cases.manifest import Manifest
from dermis.cases.split import split
from dermis.cases.table_schema import metadata_columns
from dermis.evaluation.concept_annotation import concept_truth
from dermis.evaluation.config import DIAGNOSES
from dermis.evaluation.needs import nobody_of, refuse_without_texts
from dermis.evaluation.setting import scored_cases
from dermis.evaluation.suites import SuiteRow

SEED = 0
"""of the split of a set that comes without one; a suite's rows are the same whatever seed the numbers have"""
ARRAYS = ".npz"
"""files in which a picture has a number and no name"""


@dataclass(frozen=True)
class RowCases:
    """The manifest as the row sees it, the split that is scored, what to say of both."""

    manifest: Manifest
    split: str
    notes: list[str]
    used: Manifest
    """the cases that the number depends on: the scored ones, and those that are learned from"""
    looks: list[str]
    """the columns of the pictures that the model looks at, in the order of ``PICTURES``"""


def row_cases(row: SuiteRow, manifest: Manifest, model: Any) -> RowCases:
    """The cases of a row. Raises ValueError, before any picture is opened, if model or columns do not allow it."""
    from dermis.model.look import picture_towers  # torch, which this room's import leaves out

    looks = list(picture_towers(model))
    refuse_without_texts(model, [row.kind])
    if not (row.picture == "image" if len(looks) > 1 else looks[0] in ("image", row.picture)):
        raise ValueError(f"the row is about the picture {row.picture!r}; this model looks at {' and '.join(looks)}.")
    manifest.require(looks, "this model")
    manifest, notes = _labelled(manifest.showing(row.picture), row), [row.notes] if row.notes else []
    if len(looks) > 1:
        notes.append(f"this model sees {' and '.join(looks)} of each case")
    scored = row.split or ("test" if row.learns or "split" in manifest else "all")
    if row.learns and "split" not in manifest:
        manifest = split(manifest, seed=SEED, stratify="diagnosis" if "diagnosis" in manifest else None)
        notes.append(f"the set comes without a split; one was dealt, seed {SEED}, as training deals it")
    _refuse_too_little(row, manifest, scored)
    used = scored_cases(manifest, scored)
    if row.learns:
        used = manifest.select(manifest.table["split"].notna().to_numpy(dtype=bool))
    return RowCases(manifest, scored, notes, used, [c for c in PICTURES if c in looks])


def _labelled(manifest: Manifest, row: SuiteRow) -> Manifest:
    """With the row's label as diagnosis, where it has one: values of no class are null."""
    if row.label is None:
        return manifest
    manifest.require([row.label], f"protocol {row.protocol!r}")
    label = manifest.table[row.label]
    merge = row.settings.get("merge")
    if merge is not None:
        label = label.where(label.isin([value for values in merge.values() for value in values]), None)
    return Manifest(manifest.table.assign(diagnosis=label), manifest.root, manifest.categories)


def _refuse_too_little(row: SuiteRow, manifest: Manifest, scored: str) -> None:
    """Raise ValueError where columns and splits tell that nothing can be measured."""
    parts = [scored_cases(manifest, part) for part in (["train", scored] if row.learns else [scored])]
    for part, name in zip(parts, ["train", scored] if row.learns else [scored], strict=True):
        where = nobody_of(name)
        if row.kind in DIAGNOSES:
            manifest.require(["diagnosis"], f"protocol {row.kind!r}")
            if "diagnosis" not in part:
                raise ValueError(f"{where} has a diagnosis.")
        elif row.kind == "concepts" and not concept_truth(manifest).loc[_rows(manifest, part)].notna().any(axis=None):
            raise ValueError(f"{where} has a concept annotated.")
        elif row.kind == "retrieval" and "caption" not in part:
            raise ValueError(f"{where} has a caption.")
        elif row.kind == "table_retrieval" and not metadata_columns(part):
            raise ValueError(f"{where} has a value in a column lesion.NAME or patient.NAME.")
        elif row.kind == "pairs":
            part.require(PICTURES, "protocol 'pairs'")
    if row.kind in DIAGNOSES and manifest.table["diagnosis"].nunique() < 2:
        raise ValueError(f"all cases have one diagnosis, {manifest.table['diagnosis'].dropna().iloc[0]!r}.")


def _rows(manifest: Manifest, part: Manifest) -> pd.Series:
    return manifest.table["case_id"].isin(part.table["case_id"])


def cases_key(row: SuiteRow, found: RowCases) -> str:
    """A name for the cases that the number depends on: ids, groups, split, what the protocol asks about, and pictures.

    Pictures are those that the model looks at: who sees two of a case knows more of it than who sees one. They go by
    name without folder and extension (``keep_list``), so that two copies of a set are one; a single one is called
    ``image``, whatever column it is shown in.
    """
    table = found.used.table
    columns = [c for c in ("case_id", *GROUP_KEYS, "split", *_asked(row, list(table))) if c in found.used]
    names = {kind: [_name(path) for path in table[c]] for kind, c in zip(PICTURES, found.looks, strict=False)}
    facts = {c: [_plain(value) for value in table[c]] for c in dict.fromkeys(columns)} | names
    return hashlib.blake2b(json.dumps([found.split, facts]).encode(), digest_size=16).hexdigest()


def pictures_key(found: RowCases) -> str:
    """A name for the files of these cases, by what the cache of embeddings knows a picture by: a copied, changed or
    found picture gives another."""
    from dermis.model.cache import picture_key

    name = hashlib.blake2b(digest_size=16)
    for column in found.looks:
        for path in found.used.table[column]:
            name.update(picture_key(found.used.root, path).ljust(16, b"\0"))
    return name.hexdigest()


def _asked(row: SuiteRow, columns: Sequence[str]) -> list[str]:
    """The columns that the row's protocol reads beside ids and pictures."""
    beginnings = {
        "concepts": ("concept.", "finding."),
        "retrieval": ("caption",),
        "table_retrieval": ("lesion.", "patient."),
        "derm7pt": ("diagnosis", "finding."),
        "pairs": (),
    }.get(row.kind, ("diagnosis",))
    return [c for c in columns if c.startswith(beginnings) and not c.endswith("_origin")]


def _plain(value: object) -> str | None:
    """A cell as text; whole numbers as 3.0, whatever type a CSV or a Parquet file gives them."""
    if not isinstance(value, str) and pd.isna(value):
        return None
    return value if isinstance(value, str) else repr(float(value))


def _name(path: object) -> str | None:
    """a/ISIC_1.JPG, a.zip!/b/ISIC_1.png -> isic_1; a/x.npz!/test/17 -> x!test/17"""
    if not isinstance(path, str):
        return None
    file, _, member = path.casefold().partition("!/")
    if PurePosixPath(file).suffix == ARRAYS:
        return f"{PurePosixPath(file).stem}!{member}"
    return PurePosixPath(member or file).stem
