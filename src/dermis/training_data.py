"""What a recipe says about data as cases, texts and batches.

Which cases are trained on, which texts are read, in which order they come, and what must be said about it.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from dermis.batch.augment import AUGMENTATIONS
from dermis.batch.balanced import LabelBalancedBatches
from dermis.batch.config import STORED, DataConfig
from dermis.batch.dataset import CaseDataset, Collate, picture_columns
from dermis.batch.loader import Batches
from dermis.batch.patients import PatientBatches
from dermis.batch.sampler import EpochBatches
from dermis.batch.sources import TextSource, from_columns, from_narrator, has_text, in_one_caption, shuffled
from dermis.cases.catalogue import import_set
from dermis.cases.leakage import assert_no_leak
from dermis.cases.manifest import Manifest
from dermis.cases.split import split
from dermis.cases.targets import labels_of
from dermis.distributed import rank, world_size
from dermis.experiment import Experiment, method_settings
from dermis.language.narrate import Narrator
from dermis.methods import methods
from dermis.model.embed import embed_pictures
from dermis.registry import unknown
from dermis.towers.freeze import is_frozen
from dermis.towers.two_tower import TwoTower
from dermis.training.config import TrainingConfig


def cases_of(config: DataConfig, seed: int) -> Manifest:
    """All cases of the recipe, split. Raises ValueError for a split that tears a patient or lesion apart."""
    if config.reader:
        if config.root is None:
            raise ValueError(f"data.reader {config.reader!r} needs the data set's folder: --data.root FOLDER.")
        manifest: Manifest = import_set(config.reader, config.root, **config.options)
    elif config.manifest:
        manifest = Manifest.read(config.manifest, config.root)
    else:
        raise ValueError("no cases: give --data.manifest cases.parquet, or --data.reader NAME --data.root FOLDER.")
    manifest = manifest.showing(config.picture)
    if "split" not in manifest:
        manifest = split(manifest, seed=seed, stratify="diagnosis" if "diagnosis" in manifest else None)
    assert_no_leak(manifest)
    return manifest


def training_cases(
    manifest: Manifest,
    config: DataConfig,
    seed: int,
    columns: Sequence[str] = ("caption",),
    all_of: Sequence[str] = (),
) -> tuple[Manifest, TextSource | None, list[str]]:
    """The cases to train on, the source of their texts, and a sentence on what was left out.

    ``columns``: the text columns that the method reads; none: it needs no texts, and the source is None. ``all_of``:
    those that a case must have, each of them; none: any will do. Raises ValueError for settings about texts that such a
    method has no use for.
    """
    if not columns and (config.texts or config.narrate or config.shuffle_texts):
        raise ValueError("data.texts, data.narrate and data.shuffle_texts have no effect: this method reads no texts.")
    cases, said = manifest.split("train"), []
    if config.hold_out:
        cases.require(["diagnosis"], "data.hold_out")
        known = set(cases.table["diagnosis"].dropna())
        for name in config.hold_out:
            if name not in known:
                raise unknown("diagnosis in data.hold_out", name, known)
        held = cases.table["diagnosis"].isin(config.hold_out).to_numpy(dtype=bool)
        cases = cases.select(~held)
        said.append(f"{int(held.sum())} training cases of {', '.join(config.hold_out)} are held out.")
    if not columns:
        return cases, None, said
    source = _texts(cases, config, columns)
    there = has_text(source, len(cases), all_of)
    if not there.all():
        lack = " or no ".join(all_of) or "text"
        said.append(f"{int((~there).sum())} of {len(cases)} training cases have no {lack} and are left out.")
        cases = cases.select(there)
        source = _texts(cases, config, columns)
    if config.shuffle_texts:
        said.append("control: the texts are shuffled among the training cases.")
        source = shuffled(source, len(cases), seed)
    return cases, source, said


def _texts(cases: Manifest, config: DataConfig, columns: Sequence[str]) -> TextSource:
    if config.narrate:
        return from_narrator(cases, Narrator(config.narrate.fields, config.narrate.drop))
    columns = config.texts or columns
    cases.require(columns, "training on texts")
    if config.join_texts:
        return in_one_caption(cases, columns, config.headings)
    return from_columns(cases, columns)


def texts_read(experiment: Experiment) -> tuple[str, ...]:
    """The text columns that the recipe's method reads; a page says so in ``texts``, or ``texts_of(settings)``."""
    page = methods()[experiment.method.name]
    return page.texts_of(method_settings(experiment)) if hasattr(page, "texts_of") else getattr(page, "texts", ())


def with_pictures(cases: Manifest, columns: Sequence[str]) -> tuple[Manifest, list[str]]:
    """The cases that have all of these pictures, and a sentence on how many have not."""
    there = cases.table[list(columns)].notna().all(axis=1).to_numpy(dtype=bool)
    if there.all():
        return cases, []
    what = " and ".join(columns)
    return cases.select(there), [f"{int((~there).sum())} of {len(cases)} training cases lack {what} and are left out."]


def batches_of(
    experiment: Experiment, method: nn.Module, cases: Manifest, texts: TextSource | None, loop: TrainingConfig
) -> Batches:
    """The batches of a stage; with `augmentation: stored` the frozen tower embeds the pictures first."""
    data, model = experiment.data, cast(Any, method.model)
    family = getattr(loop, "augmentation", None) or data.augmentation
    pictures, stored, tables = [], None, getattr(method, "tables", {})
    if data.corruption and not tables:
        raise ValueError("data.corruption has no effect: this method reads no metadata.")
    if family == STORED:
        if not isinstance(model, TwoTower) or not is_frozen(model.image):
            raise ValueError("data.augmentation 'stored' needs a frozen image tower: set model.image.freeze: true.")
        embedding_ND, ok_N = embed_pictures(model, cases, stage="trunk", cache=data.cache)
        if not ok_N.all():
            raise ValueError(f"{int((~ok_N).sum())} training pictures cannot be opened; `dermis check` names them.")
        stored = torch.from_numpy(np.asarray(embedding_ND))
    else:
        if family not in AUGMENTATIONS:
            raise unknown("augmentation", family, [*AUGMENTATIONS, STORED])
        transforms = {column: tower.transform for column, tower in model.picture_towers.items()}
        pictures = picture_columns(transforms, AUGMENTATIONS[family], getattr(method, "views", 1))
    labels = _labels(method, cases)
    dataset = CaseDataset(
        cases, pictures=pictures, texts=texts, tables=tables, corruption=data.corruption, stored_ND=stored,
        labels=labels, seed=loop.seed, drop_unreadable=data.lesions is not None,
    )  # fmt: skip
    order = _order(data, method, cases, labels, loop)
    workers = 0 if stored is not None else loop.workers
    collate = Collate(model.text.tokenizer if texts is not None else None, dataset.tables)
    return Batches(dataset, order, collate, workers)


def _order(
    data: DataConfig, method: Any, cases: Manifest, labels: Sequence[int] | np.ndarray | None, loop: TrainingConfig
) -> EpochBatches:
    """The order of the cases: any, balanced over labels, or patient after patient."""
    place = (loop.seed, rank(), world_size())
    contrasts_patients = getattr(method, "draws_patients", None)
    if contrasts_patients and data.lesions is None:
        raise ValueError("this method contrasts patients: set data.lesions, the most lesions of one in a batch (16).")
    if data.lesions is not None:
        if contrasts_patients is None:
            raise ValueError("data.lesions has no effect: this method knows no patients, and draws cases.")
        if "patient_id" not in cases and "lesion_id" not in cases:
            raise ValueError("data.lesions draws patients: the manifest needs patient_id, or lesion_id in its place.")
        known = set(cases.table["diagnosis"].dropna()) if "diagnosis" in cases else set()
        for name in data.draw_first:
            if name not in known:
                raise unknown("diagnosis in data.draw_first", name, known)
        first_N = cases.table["diagnosis"].isin(data.draw_first).to_numpy(dtype=bool) if data.draw_first else None
        return PatientBatches(cases.groups(), loop.batch_size, data.lesions, *place, first_N=first_N)
    if data.balance:
        return LabelBalancedBatches(labels, loop.batch_size, *place)
    return EpochBatches(len(cases), loop.batch_size, *place)


def said_of_patients(data: DataConfig, cases: Manifest) -> list[str]:
    """What a report must say of batches of patients."""
    if data.lesions is None:
        return []
    unknown_N = cases.table["patient_id"].isna() if "patient_id" in cases else np.ones(len(cases), dtype=bool)
    said = []
    if unknown_N.any():
        which = "There is no patient_id" if unknown_N.all() else f"{int(unknown_N.sum())} cases have no patient_id"
        said.append(f"{which}: a patient is there the pictures of one lesion.")
    if data.draw_first:
        names = ", ".join(data.draw_first)
        said.append(f"Lesions of {names} were drawn first in every batch: labels were used in pre-training.")
    return said


def _labels(method: Any, cases: Manifest) -> Sequence[int] | np.ndarray | None:
    if hasattr(method, "targets"):
        return labels_of(cases, method.targets)
    if not hasattr(method, "labels"):
        return None
    return method.labels(cases.table["diagnosis"].tolist() if "diagnosis" in cases else [])


def texts_said(texts: TextSource, rows: int, tellings: int = 3) -> set[str]:
    """What the training cases say, as far as a few tellings show: enough to know which class names are among it."""
    rngs = [np.random.default_rng(i) for i in range(tellings)]
    return {text for rng in rngs for row in range(rows) for _, text in texts(row, rng)}
