"""How an experiment becomes a run: cases, batches, towers, method, training, a model folder.

runs/NAME/   recipe.yaml  environment.json  log.jsonl  checkpoints/  quarantine.jsonl  model/  report/

A method of several stages has log.jsonl, checkpoints/ and quarantine.jsonl in a folder for each.
"""

import json
import platform
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from dermis.batch.sources import TextSource
from dermis.cases.manifest import Manifest
from dermis.cases.targets import UNKNOWN, labels_of, targets_of
from dermis.distributed import is_main, rank, seed_everything, world_size
from dermis.evaluation.config import EvaluationConfig, only
from dermis.evaluation.evaluate import evaluate, nothing_measured
from dermis.evaluation.needs import measurable
from dermis.evaluation.report import UNTRAINED, Report
from dermis.evaluation.setting import scored_cases
from dermis.experiment import Experiment, experiment_of, method_settings, seed_of, stages_of
from dermis.methods import methods
from dermis.methods.tables import learn_tables
from dermis.model import save
from dermis.model.embed import embed_cases
from dermis.progress import counting
from dermis.recipe import read_yaml, to_mapping, write_yaml
from dermis.towers.build import PAIRED, TRAINED, TRAINED_ONLY, build_model
from dermis.towers.trained_tokenizer import train_tokenizer
from dermis.training.loop import quarantined, train
from dermis.training.ranks import joined
from dermis.training.same_run import refuse_other
from dermis.training.state import checkpoints, refuse_other_size
from dermis.training_data import (
    batches_of,
    cases_of,
    said_of_patients,
    texts_read,
    texts_said,
    training_cases,
    with_pictures,
)

UNWATCHED = ("synonyms", "inputs")
"""settings of the evaluation that stay at their default where training is watched, for time"""
AFTERWARDS = ("name", "untrained", "evaluation.*", "data.cache", "training*.evaluate_epochs", "training*.batch_size")
"""settings under whose other values a run may be gone on with: nothing of what is trained depends on them, but on
batch_size, which is of one rank and compared together with their number"""
PACKAGES = ("dermis", "torch", "timm", "open_clip_torch", "numpy", "opencv-python-headless", "pandas")


def _chosen(method: Any, manifest: Manifest, cache: Path) -> str:
    """Let a method set what it chooses on the valid split after training; says what it chose."""
    if not (manifest.table["split"] == "valid").any():
        return "there is no valid split: what the method would choose on it stays at its default."
    valid = scored_cases(manifest, "valid")
    feature_ND, ok_N = embed_cases(method.model.eval(), valid, cache=cache)
    label_NL = labels_of(valid, method.targets)
    if not (label_NL[ok_N] != UNKNOWN).any():
        return (
            "no readable case of the valid split has a known label: what the method would choose stays at its default."
        )
    found = method.choose_on_valid(torch.from_numpy(feature_ND[ok_N]), torch.from_numpy(label_NL[ok_N]))
    return "chosen on the valid split: " + ", ".join(f"{name} {value:.3g}" for name, value in found.items()) + "."


def environment() -> dict[str, object]:
    """What the run's numbers depend on besides its recipe."""
    packages = {name: _version(name) for name in PACKAGES}
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"python": platform.python_version(), "machine": platform.platform(), "gpus": gpus, "packages": packages}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # another package brings the module, or it was never installed as one
        return None


def start(experiment: Experiment, folder: Path, command: str) -> None:
    """Make the run's folder; the recipe in it is whole, and itself a recipe."""
    if is_main():
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / ".writing-recipe.yaml"  # killed in between, the run could not be gone on with
        write_yaml(experiment, scratch, header=command)
        scratch.replace(folder / "recipe.yaml")
        (folder / "environment.json").write_text(json.dumps(environment(), indent=1))


def refuse_another_run(experiment: Experiment, folder: Path) -> None:
    """Raise ValueError if ``folder`` holds steps that were trained with other settings than the experiment's.

    Its recipe may differ in what changes nothing of what is trained (``AFTERWARDS``, ``dermis.training.same_run``), in
    a stage that has not begun, and in the number of ranks, as long as a step sees as many cases. A tokenizer that is
    yet to be learnt is not compared: with another one the checkpoint's weights do not fit.
    """
    recipe = folder / "recipe.yaml"
    begun = [home.parent for home in (folder / "checkpoints", *folder.glob("*/checkpoints")) if checkpoints(home)]
    if not begun or not recipe.is_file():
        return
    held, asked = read_yaml(recipe), to_mapping(experiment)
    names = [{"method": {"name": (settings.get("method") or {}).get("name")}} for settings in (held, asked)]
    refuse_other(folder, *names)  # first: another method has other settings throughout
    try:
        held = to_mapping(experiment_of(held))
    except ValueError as error:
        raise ValueError(f"{recipe}: {error} Choose another folder (--out), or delete this one.") from None
    stages = [name for name, loop in asked["training"].items() if isinstance(loop, dict)]
    loose = [*AFTERWARDS, *(f"training.{stage}.*" for stage in stages if folder / stage not in begun)]
    text = asked["model"].get("text") or {}
    if text.get("name") == TRAINED and text["tokenizer"] is None:
        loose += [f"model.text.{name}" for name in TRAINED_ONLY]
    refuse_other(folder, held, asked, loose=loose)
    for stage, loop in stages_of(experiment).items():
        refuse_other_size(folder / stage / "checkpoints", loop.batch_size * world_size())


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


def with_tokenizer(experiment: Experiment, said: set[str] | None, folder: Path) -> Experiment:
    """The recipe with the tokenizer of a trained text tower, learnt from what the training cases say, in ``folder``.

    Every rank learns the same one and writes its own copy over the others', so that none waits.
    """
    given = getattr(experiment.model, "text", None)
    if getattr(given, "name", None) != TRAINED or given.tokenizer is not None:
        return experiment
    if said is None:
        raise ValueError("a trained text tower needs texts to learn its tokenizer from, and this method reads none.")
    learnt = train_tokenizer(
        sorted(said),
        **{name: value for name in ("vocabulary", "characters") if (value := getattr(given, name)) is not None},
    )
    path, scratch = folder / "tokenizer.json", folder / f".writing-tokenizer-{rank()}.json"
    folder.mkdir(parents=True, exist_ok=True)
    scratch.write_text(learnt, encoding="utf-8")
    scratch.replace(path)
    tower = replace(given, tokenizer=str(path), vocabulary=None, characters=None)
    return replace(experiment, model=replace(experiment.model, text=tower))


@dataclass(frozen=True)
class Prepared:
    """An experiment before its first step."""

    experiment: Experiment
    """with what was learnt from the cases: targets, tables, tokenizer"""
    method: Any
    manifest: Manifest
    """all cases"""
    cases: Manifest
    """those to train on"""
    texts: TextSource | None
    said: set[str] | None
    """what the texts say"""
    notes: list[str]


def prepared(experiment: Experiment, folder: Path, most_texts: int | None = None) -> Prepared:
    """Cases, texts and the method with its weights. ``folder``: for a learnt tokenizer; ``most_texts``: cases that it
    is learnt from (none: all).

    Raises ValueError for cases that the method cannot be trained on, and as ``refuse_another_run``.
    """
    page, seed = methods()[experiment.method.name], seed_of(experiment)
    manifest = cases_of(experiment.data, seed)
    told = ("caption",) if experiment.data.narrate or experiment.data.texts else ()
    manifest.require([c for c in page.needs if c not in told], f"method {experiment.method.name!r}")
    experiment = with_tables(with_targets(experiment, manifest), manifest)
    refuse_another_run(experiment, folder)
    whole = getattr(page, "whole", ())
    cases, texts, notes = training_cases(manifest, experiment.data, seed, texts_read(experiment), whole)
    rows = len(cases) if most_texts is None else min(len(cases), most_texts)
    said = None if texts is None else texts_said(texts, rows)
    experiment = with_tokenizer(experiment, said, folder)
    method: Any = build_method(experiment)
    manifest.require(method.model.picture_towers, f"method {experiment.method.name!r} with these towers")
    cases, more = with_pictures(cases, list(method.model.picture_towers))
    return Prepared(experiment, method, manifest, cases, texts, said, [*notes, *more])


def run_experiment(experiment: Experiment, folder: Path, command: str) -> Report | None:
    """Train, save and evaluate what a recipe says, beside the same model untrained; resumes what ``folder`` holds.

    A method of several stages has a folder for each in ``folder``, and is evaluated after each. Returns the report on
    rank 0 and None on the others.
    """
    with joined() as device:
        stages = stages_of(experiment)
        ready = prepared(experiment, folder)
        experiment, method, manifest = ready.experiment, ready.method, ready.manifest
        notes = [*ready.notes, *said_of_patients(experiment.data, ready.cases), *getattr(method, "notes", [])]
        start(experiment, folder, command)

        asked, unmeasured = measurable(manifest, experiment.evaluation)
        notes += unmeasured

        def evaluation(name: str, config: EvaluationConfig | None = asked) -> Report:
            if config is None:
                return nothing_measured(manifest, experiment.evaluation, command)
            cache = experiment.data.cache
            with counting("embedding pictures") as progress:
                return evaluate(
                    method.model,
                    manifest,
                    config,
                    name=name,
                    training_texts=ready.said,
                    embed=lambda m: embed_cases(method.model.eval(), m, cache=cache, progress=progress),
                    cache=cache,
                    command=command,
                )

        def watch(_: nn.Module) -> dict[str, float]:
            # finetune is a training of its own, and second_stage learns from valid
            protocols = [p for p in asked.protocols if p not in ("finetune", "second_stage")] if asked else []
            if asked is None or not protocols:
                return {}
            default = EvaluationConfig()
            plain = {name: getattr(default, name) for name in UNWATCHED}
            quick = only(asked, protocols, **plain, split="valid", n_boot=20, subgroups=[], pictures=0)
            found = evaluation(experiment.name, quick).entries
            overall = [e for e in found if e.split == "valid" and not (e.subgroup or e.class_name)]
            return {f"{e.protocol}: {e.metric}": e.value for e in overall}

        report = None
        for stage, loop in stages.items():
            if stage:
                seed_everything(loop.seed)
                method.start_stage(stage)  # type: ignore[operator]
            # before anything is measured: what cannot work stops here
            batches = batches_of(experiment, method, ready.cases, ready.texts, loop)
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
        lines = [*unmeasured, f"model: {folder / 'model'}", f"report: {page}"]
        Console(stderr=True).print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
        return report
