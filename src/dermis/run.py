"""How an experiment becomes a run: cases, batches, towers, method, training, a model folder.

runs/NAME/   recipe.yaml  environment.json  log.jsonl  checkpoints/  quarantine.jsonl  model/  report/
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import cast

import numpy as np
import torch
from rich.console import Console
from torch import nn

from dermis.batch.augment import AUGMENTATIONS, Normalise
from dermis.batch.config import STORED, DataConfig
from dermis.batch.dataset import CaseDataset, Collate, PictureColumn
from dermis.batch.loader import Batches
from dermis.batch.sampler import EpochBatches
from dermis.batch.sources import TextSource, from_columns, from_narrator, has_text, in_one_caption, shuffled
from dermis.cases.catalogue import import_set
from dermis.cases.leakage import assert_no_leak
from dermis.cases.manifest import Manifest
from dermis.cases.split import split
from dermis.distributed import is_main, rank, seed_everything, world_size
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.report import Report
from dermis.experiment import Experiment, method_settings
from dermis.language.narrate import Narrator
from dermis.methods import methods
from dermis.model import save
from dermis.model.embed import embed_pictures
from dermis.progress import counting
from dermis.recipe import write_yaml
from dermis.registry import unknown
from dermis.towers.build import build_two_tower
from dermis.towers.freeze import is_frozen
from dermis.towers.two_tower import TwoTower
from dermis.training.loop import quarantined, train
from dermis.training.ranks import joined

UNTRAINED = "untrained"
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
) -> tuple[Manifest, TextSource, list[str]]:
    """The cases to train on, the source of their texts, and a sentence on each that was left out.

    ``columns``: the text columns to read where ``config`` does not say.
    """
    cases, said = manifest.split("train"), []
    if config.hold_out:
        known = set(cases.table["diagnosis"].dropna())
        for name in config.hold_out:
            if name not in known:
                raise unknown("diagnosis in data.hold_out", name, known)
        held = cases.table["diagnosis"].isin(config.hold_out).to_numpy(dtype=bool)
        cases = cases.select(~held)
        said.append(f"{int(held.sum())} training cases of {', '.join(config.hold_out)} are held out.")
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
    return in_one_caption(cases, columns) if config.join_texts else from_columns(cases, columns)


def batches_of(experiment: Experiment, method: nn.Module, cases: Manifest, texts: TextSource) -> Batches:
    """The training batches; with `augmentation: stored` the frozen tower embeds the pictures first."""
    data, training, model = experiment.data, experiment.training, cast(TwoTower, method.model)
    pictures, stored = [], None
    if data.augmentation == STORED:
        if not is_frozen(model.image):
            raise ValueError("data.augmentation 'stored' needs a frozen image tower: set model.image.freeze: true.")
        embedding_ND, ok_N = embed_pictures(model, cases, stage="trunk", cache=data.cache)
        if not ok_N.all():
            raise ValueError(f"{int((~ok_N).sum())} training pictures cannot be opened; `dermis check` names them.")
        stored = torch.from_numpy(np.asarray(embedding_ND))
    else:
        if data.augmentation not in AUGMENTATIONS:
            raise unknown("augmentation", data.augmentation, [*AUGMENTATIONS, STORED])
        transform = model.image.transform
        augmentation = replace(AUGMENTATIONS[data.augmentation], size=transform.size[0])
        pictures = [PictureColumn("image", augmentation, Normalise(transform.mean, transform.std), data.views)]
    diagnoses = cases.table["diagnosis"].tolist() if "diagnosis" in cases else []
    labels = method.labels(diagnoses) if hasattr(method, "labels") else None  # type: ignore[operator]
    dataset = CaseDataset(cases, pictures=pictures, texts=texts, stored_ND=stored, labels=labels, seed=training.seed)
    order = EpochBatches(len(cases), training.batch_size, training.seed, rank(), world_size())
    workers = 0 if stored is not None else training.workers
    return Batches(dataset, order, Collate(model.text.tokenizer), workers)


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
    seed_everything(experiment.training.seed)
    model = build_two_tower(experiment.model, experiment.training.seed)
    return methods()[experiment.method.name](model, method_settings(experiment))


def run_experiment(experiment: Experiment, folder: Path, command: str) -> Report | None:
    """Train, save and evaluate what a recipe says, beside the same model untrained; resumes what ``folder`` holds.

    Returns the report on rank 0 and None on the others.
    """
    with joined() as device:
        manifest = cases_of(experiment.data, experiment.training.seed)
        columns = [
            c for c in methods()[experiment.method.name].needs if not (c == "caption" and experiment.data.narrate)
        ]
        manifest.require(columns, f"method {experiment.method.name!r}")
        method = build_method(experiment)
        cases, texts, notes = training_cases(manifest, experiment.data, experiment.training.seed, method.texts)
        start(experiment, folder, command)
        said = texts_said(texts, len(cases))

        def evaluation(name: str, config: EvaluationConfig = experiment.evaluation) -> Report:
            cache = experiment.data.cache
            with counting("embedding pictures") as progress:
                return evaluate(
                    method.model,
                    manifest,
                    config,
                    name=name,
                    training_texts=said,
                    embed=lambda m: embed_pictures(method.model.eval(), m, cache=cache, progress=progress),
                    command=command,
                )

        def watch(_: nn.Module) -> dict[str, float]:
            quick = replace(experiment.evaluation, split="valid", n_boot=20, subgroups=[], pictures=0, synonyms=None)
            found = evaluation(experiment.name, quick).entries
            return {f"{e.protocol}: {e.metric}": e.value for e in found if not (e.subgroup or e.class_name)}

        batches = batches_of(experiment, method, cases, texts)  # first: settings that cannot work stop here
        report = evaluation(UNTRAINED) if is_main() else None
        train(method, batches, experiment.training, folder, device, watch)
        if report is None:
            return None
        report = report.beside(evaluation(experiment.name))
        bad = quarantined(folder)
        if bad:
            notes.append(f"{len(bad)} training pictures could not be opened and were replaced (quarantine.jsonl).")
        report = replace(report, title=f"{experiment.name}: trained and untrained", notes=[*report.notes, *notes])
        page = report.write(folder / "report")
        save(folder / "model", method.model, recipe=experiment, report=json.loads(report.json()))
        Console(stderr=True).print(f"model: {folder / 'model'}\nreport: {page}", highlight=False, soft_wrap=True)
        return report


def texts_said(texts: TextSource, rows: int, tellings: int = 3) -> set[str]:
    """What the training cases say, as far as a few tellings show: enough to know which class names are among it."""
    rngs = [np.random.default_rng(i) for i in range(tellings)]
    return {text for rng in rngs for row in range(rows) for _, text in texts(row, rng)}
