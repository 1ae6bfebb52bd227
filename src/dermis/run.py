"""How an experiment becomes a run: cases, batches, towers, method, training, a model folder.

runs/NAME/   recipe.yaml  environment.json  log.jsonl  checkpoints/  quarantine.jsonl  model/  report/

A method of several stages has log.jsonl, checkpoints/ and quarantine.jsonl in a folder for each.
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
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
from dermis.cases.targets import UNKNOWN, labels_of, targets_of
from dermis.distributed import is_main, rank, seed_everything, world_size
from dermis.evaluation.config import USED_BY, EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.report import Report
from dermis.experiment import Experiment, method_settings, seed_of, stages_of
from dermis.language.narrate import Narrator
from dermis.methods import methods
from dermis.methods.tables import learn_tables
from dermis.model import save
from dermis.model.embed import embed_cases, embed_pictures
from dermis.progress import counting
from dermis.recipe import write_yaml
from dermis.registry import unknown
from dermis.towers.build import PAIRED, build_model
from dermis.towers.freeze import is_frozen
from dermis.towers.two_tower import TwoTower
from dermis.training.config import TrainingConfig
from dermis.training.loop import quarantined, train
from dermis.training.ranks import joined

UNTRAINED = "untrained"
UNWATCHED = ("synonyms", "inputs")
"""settings of the evaluation that stay at their default where training is watched, for time"""
PACKAGES = ("dermis", "torch", "timm", "open_clip_torch", "numpy", "opencv-python-headless", "pandas")


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
    manifest: Manifest, config: DataConfig, seed: int, columns: Sequence[str] = ("caption",)
) -> tuple[Manifest, TextSource | None, list[str]]:
    """The cases to train on, the source of their texts, and a sentence on what was left out.

    ``columns``: the text columns that the method reads; none: it needs no texts, and the source is None. Raises
    ValueError for settings about texts that such a method has no use for.
    """
    if not columns and (config.texts or config.narrate or config.shuffle_texts):
        raise ValueError("data.texts, data.narrate and data.shuffle_texts have no effect: this method reads no texts.")
    cases, said = manifest.split("train"), []
    if config.hold_out:
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
    there = has_text(source, len(cases))
    if not there.all():
        said.append(f"{int((~there).sum())} of {len(cases)} training cases have no text and are left out.")
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


def _said_of_patients(data: DataConfig, cases: Manifest) -> list[str]:
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


def _chosen(method: Any, manifest: Manifest, cache: Path) -> str:
    """Let a method set what it chooses on the valid split after training; says what it chose."""
    if not (manifest.table["split"] == "valid").any():
        return "there is no valid split: what the method would choose on it stays at its default."
    valid = manifest.split("valid")
    feature_ND, ok_N = embed_cases(method.model.eval(), valid, cache=cache)
    label_NL = labels_of(valid, method.targets)
    if not (label_NL[ok_N] != UNKNOWN).any():
        return (
            "no readable case of the valid split has a known label: what the method would choose stays at its default."
        )
    found = method.choose_on_valid(torch.from_numpy(feature_ND[ok_N]), torch.from_numpy(label_NL[ok_N]))
    return "chosen on the valid split: " + ", ".join(f"{name} {value:.3g}" for name, value in found.items()) + "."


def _labels(method: Any, cases: Manifest) -> Sequence[int] | np.ndarray | None:
    if hasattr(method, "targets"):
        return labels_of(cases, method.targets)
    if not hasattr(method, "labels"):
        return None
    return method.labels(cases.table["diagnosis"].tolist() if "diagnosis" in cases else [])


def environment() -> dict[str, object]:
    """What the run's numbers depend on besides its recipe."""
    packages = {name: metadata.version(name) for name in PACKAGES}
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"python": platform.python_version(), "machine": platform.platform(), "gpus": gpus, "packages": packages}


def start(experiment: Experiment, folder: Path, command: str) -> None:
    """Make the run's folder; the recipe in it is whole, and itself a recipe."""
    if is_main():
        folder.mkdir(parents=True, exist_ok=True)
        write_yaml(experiment, folder / "recipe.yaml", header=command)
        (folder / "environment.json").write_text(json.dumps(environment(), indent=1))


def build_method(experiment: Experiment) -> nn.Module:
    """Towers and method of the recipe, with weights drawn by its seed."""
    seed = seed_of(experiment)
    seed_everything(seed)
    model = build_model(experiment.model, seed)
    brought = dict(getattr(model, "parts", {}))
    method = methods()[experiment.method.name](model, method_settings(experiment))
    for name, part in brought.items():
        if model.parts[name] is part:  # the method has not gone on from it, and its towers are about to move away
            model.remove(name)
    return method


def with_targets(experiment: Experiment, manifest: Manifest) -> Experiment:
    """The recipe with the labels and classes that a classifying method is to learn, where it leaves them open."""
    if getattr(experiment.method, "targets", None) != {}:
        return experiment
    return replace(experiment, method=replace(experiment.method, targets=targets_of(manifest)))


def with_tables(experiment: Experiment, manifest: Manifest) -> Experiment:
    """The recipe with the schemas of the tables that a method reads, learnt from the training split where it has none.

    So the run's recipe and the model hold them, and no case that is not trained on takes part in means and categories.
    """
    if getattr(experiment.method, "tables", None) != {}:
        return experiment
    settings = method_settings(experiment)
    levels = methods()[experiment.method.name].table_levels(settings)
    cases, _, _ = training_cases(manifest, experiment.data, seed_of(experiment), ())
    cases, _ = with_pictures(cases, PAIRED if experiment.model.paired else PAIRED[1:])
    learnt = learn_tables(cases, levels, settings.columns)
    return replace(experiment, method=replace(experiment.method, tables=learnt))


def run_experiment(experiment: Experiment, folder: Path, command: str) -> Report | None:
    """Train, save and evaluate what a recipe says, beside the same model untrained; resumes what ``folder`` holds.

    A method of several stages has a folder for each in ``folder``, and is evaluated after each. Returns the report on
    rank 0 and None on the others.
    """
    with joined() as device:
        stages, seed = stages_of(experiment), seed_of(experiment)
        manifest = cases_of(experiment.data, seed)
        narrated = ("caption",) if experiment.data.narrate else ()
        columns = [c for c in methods()[experiment.method.name].needs if c not in narrated]
        manifest.require(columns, f"method {experiment.method.name!r}")
        experiment = with_tables(with_targets(experiment, manifest), manifest)
        method = build_method(experiment)
        cases, texts, notes = training_cases(manifest, experiment.data, seed, getattr(method, "texts", ()))
        manifest.require(method.model.picture_towers, f"method {experiment.method.name!r} with these towers")
        cases, more = with_pictures(cases, list(method.model.picture_towers))
        notes += [*more, *_said_of_patients(experiment.data, cases), *getattr(method, "notes", [])]
        start(experiment, folder, command)
        said = None if texts is None else texts_said(texts, len(cases))

        def evaluation(name: str, config: EvaluationConfig = experiment.evaluation) -> Report:
            cache = experiment.data.cache
            with counting("embedding pictures") as progress:
                return evaluate(
                    method.model,
                    manifest,
                    config,
                    name=name,
                    training_texts=said,
                    embed=lambda m: embed_cases(method.model.eval(), m, cache=cache, progress=progress),
                    cache=cache,
                    command=command,
                )

        def watch(_: nn.Module) -> dict[str, float]:
            # finetune is a training of its own, and second_stage learns from valid
            protocols = [p for p in experiment.evaluation.protocols if p not in ("finetune", "second_stage")]
            if not protocols:
                return {}
            quick = replace(
                experiment.evaluation,
                protocols=protocols,
                **{
                    name: getattr(EvaluationConfig(), name)
                    for name, users in USED_BY.items()
                    if name in UNWATCHED or not set(users) & set(protocols)
                },
                split="valid",
                n_boot=20,
                subgroups=[],
                pictures=0,
            )
            found = evaluation(experiment.name, quick).entries
            overall = [e for e in found if e.split == "valid" and not (e.subgroup or e.class_name)]
            return {f"{e.protocol}: {e.metric}": e.value for e in overall}

        report = None
        for stage, loop in stages.items():
            if stage:
                seed_everything(loop.seed)
                method.start_stage(stage)  # type: ignore[operator]
            batches = batches_of(experiment, method, cases, texts, loop)  # first: what cannot work stops here
            if is_main() and report is None and experiment.untrained:
                report = evaluation(UNTRAINED)
            train(method, batches, loop, folder / stage, device, watch)
            if hasattr(method, "choose_on_valid"):
                notes.append(_chosen(method, manifest, experiment.data.cache))
            if is_main():
                is_last = stage == list(stages)[-1]
                if is_last:  # before it is measured, which can fail where training did not
                    save(folder / "model", method.model, recipe=experiment)
                measured = evaluation(experiment.name if is_last else f"{experiment.name}: {stage}")
                report = measured if report is None else report.beside(measured)
            if bad := quarantined(folder / stage):
                done = "replaced" if experiment.data.lesions is None else "left out"
                notes.append(f"{len(bad)} training pictures could not be opened and were {done} (quarantine.jsonl).")
        if report is None:
            return None
        title = f"{experiment.name}: trained and untrained" if experiment.untrained else experiment.name
        report = replace(report, title=title, notes=[*report.notes, *notes])
        page = report.write(folder / "report")
        save(folder / "model", method.model, recipe=experiment, report=json.loads(report.json()))
        Console(stderr=True).print(f"model: {folder / 'model'}\nreport: {page}", highlight=False, soft_wrap=True)
        return report


def texts_said(texts: TextSource, rows: int, tellings: int = 3) -> set[str]:
    """What the training cases say, as far as a few tellings show: enough to know which class names are among it."""
    rngs = [np.random.default_rng(i) for i in range(tellings)]
    return {text for rng in rngs for row in range(rows) for _, text in texts(row, rng)}
