"""A model and a manifest in, a report out: protocols, metrics with intervals, subgroups, plots and examples."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dermis.cases.manifest import Manifest
from dermis.cases.targets import UNKNOWN, targets_of
from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.concept_annotation import concept_metrics, single_class
from dermis.evaluation.config import DIAGNOSES, EvaluationConfig
from dermis.evaluation.each_label import positive_places
from dermis.evaluation.examples import examples
from dermis.evaluation.generation import generation
from dermis.evaluation.label_metrics import measure_labels
from dermis.evaluation.label_predictions import (
    LabelPredictions,
    derm7pt_predictions,
    own_predictions,
    second_stage_predictions,
)
from dermis.evaluation.label_tables import case_table
from dermis.evaluation.measure import measure, places_of
from dermis.evaluation.metrics import confusion_matrix
from dermis.evaluation.needs import refuse_without_diagnoses, refuse_without_texts, with_possible_defaults
from dermis.evaluation.pairs import matched
from dermis.evaluation.protocols import annotate, classify, retrieve_both
from dermis.evaluation.report import Entry, Report, Section, entries
from dermis.evaluation.scored import Scored
from dermis.evaluation.setting import Cases, Embed, Setting, classes_of, scored_cases
from dermis.evaluation.similar import similar
from dermis.evaluation.table_retrieval import table_retrieval
from dermis.evaluation.torn_split import refuse_torn_split


def evaluate(
    model: Any,
    manifest: Manifest,
    config: EvaluationConfig | None = None,
    *,
    name: str = "model",
    dataset: str | None = None,
    training_texts: Iterable[str] | None = None,
    embed: Embed | None = None,
    cache: Path | None = None,
    official_split: bool = False,
    command: str = "",
) -> Report:
    """Run the protocols of ``config`` on one split; of the default ones those that the model can.

    ``model`` has two towers or a tower for each picture (docs/design.md), or is an image tower, as the protocols need.
    ``training_texts`` are the texts that it was trained on: only they allow the word zero-shot. ``embed`` gives the
    image tower's pooled vectors and which pictures are readable (default ``dermis.model.embed.embed_cases``; pass one
    with a cache to save time; ``cache`` is the folder of such a cache, for fine-tuning). ``dataset`` defaults to the
    manifest's sources. Raises ValueError for a model without what a protocol needs, diagnoses that are not among the
    classes, missing splits, columns and diagnoses, and, where a protocol learns from the cases, for a split that tears
    patients, lesions or originals; with ``official_split``, that of a published table, the notes say so instead.
    """
    config, left_out = with_possible_defaults(model, config or EvaluationConfig())
    refuse_without_texts(model, config.protocols)
    refuse_without_diagnoses(manifest, config)
    texts = None if training_texts is None else list(training_texts)
    setting = Setting(model, manifest, config, embed or _embed_with(model), texts, cache)
    setting.notes += left_out
    refuse_torn_split(setting, official=official_split)
    about = nothing_measured(manifest, config, command, dataset)
    shared = {
        "model": name,
        "dataset": about.dataset,
        "split": config.split,
        "seed": config.seed,
        "command": command,
    }
    found: list[Entry] = []
    sections: list[Section] = []
    own_way = {
        "retrieval": _retrieval,
        "concepts": _concepts,
        "labels": lambda setting, shared: _labelled(own_predictions(setting), setting, shared),
        "second_stage": lambda setting, shared: _labelled(second_stage_predictions(setting), setting, shared),
        "derm7pt": lambda setting, shared: _labelled(derm7pt_predictions(setting), setting, shared),
        "finetune": _finetuned,
        "pairs": matched,
        "generation": generation,
        "similar": similar,
        "table_retrieval": table_retrieval,
    }
    for protocol in config.protocols:
        if protocol in own_way:
            new_entries, new_sections = own_way[protocol](setting, shared)
            found, sections = found + new_entries, sections + new_sections
            continue
        cases = setting.cases(config.split).diagnosed()
        for scored in classify(protocol, setting):
            found += measure(scored, cases, setting.classes, config, shared)
            pictures = 0 if any(s.examples for s in sections) else config.pictures
            sections.append(_section(scored, cases, setting.classes, name, pictures, config.seed))
    if "extrapolated" in config.inputs:
        new_entries, new_sections = _copies(setting, shared)
        found, sections = found + new_entries, sections + new_sections
    return replace(
        about,
        title=f"Evaluation of {name}",
        entries=found,
        sections=sections,
        bad_pictures=sorted(setting.bad_pictures),
        notes=_notes(setting),
        n_boot=config.n_boot,
    )


def nothing_measured(
    manifest: Manifest, config: EvaluationConfig, command: str = "", dataset: str | None = None
) -> Report:
    """A report about the split of ``config`` without any number yet."""
    sources = sorted(map(str, manifest.table["source"].dropna().unique())) if "source" in manifest else []
    cases, name = scored_cases(manifest, config.split), dataset or ", ".join(sources) or "cases"
    return Report(
        title="Nothing measured",
        dataset=name,
        split=config.split,
        cases=len(cases),
        patients=cases.groups().nunique(),
        synthetic=any("synthetic" in s.lower() for s in [*sources, name]),
        entries=[],
        sections=[],
        command=command,
    )


def _embed_with(model: Any) -> Embed:
    from dermis.model.embed import embed_cases

    return lambda manifest: embed_cases(model, manifest)


def _retrieval(setting: Setting, shared: dict[str, Any]) -> tuple[list[Entry], list[Section]]:
    config, found, sections = setting.config, [], []
    cases, results = retrieve_both(setting)
    groups = cases.manifest.groups()
    how = "a duplicate of the right text is an error" if config.diagonal else "equal texts are one answer"
    about = f"Among {len(groups)} cases by {config.text}; {how}; only queries are resampled."
    for direction, result in results.items():
        numbers = intervals(result.metrics, groups, n_boot=config.n_boot, seed=config.seed)
        found += entries(numbers, protocol=direction, n=len(groups), patients=groups.nunique(), **shared)
        sections.append(Section(shared["model"], direction, about))
    return found, sections


def _concepts(setting: Setting, shared: dict[str, Any]) -> tuple[list[Entry], list[Section]]:
    config, found = setting.config, annotate(setting)
    truth_NC, groups = found.truth, found.cases.manifest.groups()
    boot = {"n_boot": config.n_boot, "seed": config.seed}
    numbers = intervals(lambda w: concept_metrics(found.scores, truth_NC, w), groups, **boot)
    left_out = single_class(truth_NC)
    note = f"{len(left_out)} concepts with a single class left out: {', '.join(left_out)}" if left_out else ""
    result = []
    for key, number in numbers.items():
        metric, _, concept = key.partition(": ")
        told = truth_NC[concept].notna().to_numpy() if concept else slice(None)
        size = {"n": len(groups[told]), "patients": groups[told].nunique()}
        notes = f"present in {int(truth_NC[concept].sum())}" if concept else note
        result += entries(
            {metric: number}, class_name=concept, notes=notes, protocol="concept annotation", **size, **shared
        )
    return result, [Section(shared["model"], "concept annotation", found.about)]


def _copies(setting: Setting, shared: dict[str, Any]) -> tuple[list[Entry], list[Section]]:
    """How true the metadata are that the scored cases were given."""
    from dermis.evaluation.extrapolation import NONE  # Pillow, which this room's import leaves out
    from dermis.evaluation.extrapolation_agreement import agreement

    config = setting.config
    given = {split: (copies.source[:, 0] == NONE).sum() for split, copies in setting.inputs.copies.items()}
    without = ", ".join(f"{count} of {split}" for split, count in given.items() if count)
    copies = setting.inputs.copies[config.split]
    truth = setting.cases(config.split).manifest.table
    found, sections = agreement(copies, truth, shared, n_boot=config.n_boot, seed=config.seed)
    said = f" Cases without a source, whose table is empty: {without}." if without else ""
    return found, [replace(section, about=section.about + said) for section in sections]


def _finetuned(setting: Setting, shared: dict[str, Any]) -> tuple[list[Entry], list[Section]]:
    from dermis.evaluation.finetune import as_branches, finetune  # torch, which this room's import leaves out
    from dermis.model.cache import tower_key

    config = setting.config.finetune
    positive_places(targets_of(setting.manifest, config.targets), setting.config.positive)  # before hours of training
    # each model's own: another one is not gone on from
    folder = config.out / tower_key(as_branches(setting.model))[:12]
    found = finetune(setting.model, setting.manifest, config, folder, split=setting.config.split, cache=setting.cache)
    setting.bad_pictures += [case for case in found.bad if case not in setting.bad_pictures]
    numbers, sections = _labelled(found, setting, shared)
    kept = ", ".join(map(str, found.models))
    about = " ".join([*(s.about for s in sections), *found.notes, f"Models: {kept}." if kept else ""]).strip()
    return numbers, [replace(section, about=about) for section in sections]


def _labelled(found: LabelPredictions, setting: Setting, shared: dict[str, Any]) -> tuple[list[Entry], list[Section]]:
    config = setting.config
    diagnoses = classes_of(setting.manifest, None) if config.merge else setting.classes
    numbers = list(measure_labels(found, config, shared, diagnoses))
    table = case_table(found, config.checklist_rule, config.checklist_threshold)
    unknown = {name: int((label_N == UNKNOWN).sum()) for name, label_N in found.labels.items()}
    without = ", ".join(f"{count} without {name}" for name, count in unknown.items() if count)
    said = f"Cases count for the labels that they have; of {len(found.cases)} are {without}." if without else ""
    only = f"The label is {next(iter(found.classes))}." if len(found.classes) == 1 else ""
    about = " ".join(part for part in (found.about, only, said) if part)
    return numbers, [Section(shared["model"], found.protocol, about, table=table)]


def _section(scored: Scored, cases: Cases, classes: list[str], name: str, pictures: int, seed: int) -> Section:
    if scored.scores.ndim == 3:
        return Section(name, scored.protocol, scored.about, classes)
    score_NC, label_N = scored.scores, cases.label
    confusion = confusion_matrix(label_N, score_NC.argmax(axis=1), len(classes)).tolist()
    shown = examples(cases.manifest, score_NC, label_N, classes, pictures, seed)
    return Section(name, scored.protocol, scored.about, classes, confusion, shown, score_NC, label_N)


def _notes(setting: Setting) -> list[str]:
    diagnosing = ", ".join(f"`{name}`" for name in setting.config.protocols if name in DIAGNOSES)
    notes = [] if setting.config.positive is None else [f"The positive class is {setting.config.positive}."]
    if not diagnosing:
        return list(dict.fromkeys([*notes, *setting.notes]))
    cases = setting.cases(setting.config.split)
    diagnosis = cases.manifest.table["diagnosis"]
    if undiagnosed := int(diagnosis.isna().sum()):
        notes.append(f"{undiagnosed} cases without a diagnosis take no part in {diagnosing}.")
    classes = setting.classes
    if merge := setting.config.merge:
        classes = [f"{name} ({', '.join(merge[name])})" for name in classes]
        others = diagnosis[(cases.label == UNKNOWN) & diagnosis.notna()]
        if len(others):
            which = ", ".join(sorted(others.unique()))
            notes.append(f"{len(others)} cases of other diagnoses ({which}) take no part in {diagnosing}.")
    notes.append(f"{len(classes)} classes: {', '.join(classes)}.")
    if setting.config.ontology and (strange := places_of(tuple(classes), setting.config.ontology).unplaced):
        which = f"{len(strange)} of {len(classes)} classes are not in the ontology"
        notes.append(f"{which}, each is a topmost node of its own: {', '.join(strange)}.")
    return list(dict.fromkeys([*notes, *setting.notes]))
