"""From a model and a manifest to a decision and what it is worth: the way of `dermis calibrate`."""

from collections.abc import Sequence
from typing import Any

from dermis.cases.leakage import assert_no_leak
from dermis.cases.manifest import Manifest
from dermis.decision.conformal import coverage_range
from dermis.decision.decider import key_of
from dermis.decision.decision import Decision, Labelled, fit
from dermis.decision.measured import PROTOCOL, measure
from dermis.decision.rules import Rules
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.report import Report, Section
from dermis.evaluation.setting import Cases, Embed, Setting, classes_of
from dermis.evaluation.subgroups import AT_LEAST, attributes, rows_of
from dermis.registry import unknown


def calibrate(
    model: Any,
    manifest: Manifest,
    rules: Rules,
    *,
    embed: Embed,
    classes: Sequence[str] = (),
    name: str,
    dataset: str,
    command: str = "",
    n_boot: int = 1000,
) -> tuple[Decision, Report]:
    """Fit a decision on ``train`` and ``valid``, measure it on ``test``.

    ``classes``: the diagnoses to decide between (none given: all of the manifest); cases of others take no part.
    Raises ValueError for a split that tears a patient, lesion or original, and what ``fit`` raises.
    """
    manifest.require(["diagnosis"], "calibrating")
    parts = {split: manifest.split(split) for split in ("train", "valid", "test")}
    assert_no_leak(manifest)
    there = classes_of(manifest, None)
    for chosen in classes:
        if chosen not in there:
            raise unknown("class", chosen, there)
    classes = classes_of(manifest, list(classes) or None)
    if len(classes) < 2:
        raise ValueError(f"a decision is between two classes or more; given: {', '.join(classes)}.")
    for split, part in parts.items():
        if not part.table["diagnosis"].isin(classes).any():
            raise ValueError(f"no case of split {split!r} is {' or '.join(classes)}: deal it more (`dermis split`).")
    config = EvaluationConfig(
        protocols=["linear_probe"], merge={c: [c] for c in classes}, probe_features="trunk", seed=rules.seed
    )
    setting = Setting(model, manifest, config, embed, None)
    cases = {split: setting.cases(split).diagnosed() for split in parts}
    labelled = {split: _labelled(some) for split, some in cases.items()}
    decision = fit(labelled["train"], labelled["valid"], classes, rules, key_of(model))
    test = cases["test"]
    shared = {"model": name, "dataset": dataset, "split": "test", "seed": rules.seed, "command": command}
    found = measure(
        decision, test.trunk, test.label, test.manifest, shared,
        subgroups=config.subgroups, n_boot=n_boot, seed=rules.seed,
    )  # fmt: skip
    others = sum(len(parts[s]) for s in parts) - sum(len(some.label) for some in cases.values())
    notes = [*setting.notes, *_notes(decision, test, config.subgroups)]
    if others:
        notes.append(f"{others} cases take no part: no readable picture, no diagnosis of the classes, or a copy.")
    sources = manifest.table["source"].dropna().astype(str) if "source" in manifest else []
    return decision, Report(
        title=f"Decision of {name}",
        dataset=dataset,
        split="test",
        cases=len(test.label),
        patients=test.manifest.groups().nunique(),
        synthetic=any("synthetic" in source.lower() for source in sources),
        entries=list(found),
        sections=[Section(name, PROTOCOL, _about(decision), list(decision.classes))],
        bad_pictures=sorted(setting.bad_pictures),
        notes=notes,
        command=command,
        n_boot=n_boot,
    )


def _labelled(cases: Cases) -> Labelled:
    return Labelled(cases.trunk, cases.label, cases.manifest.groups().to_numpy(dtype=object))


def _about(decision: Decision) -> str:
    rules, each = decision.rules, " for each class" if decision.rules.classwise else ""
    return (
        f"Logistic probe, C = {decision.probe.c:g} by 5 folds of the training patients; "
        f"T = {decision.temperature:.3g}; {rules.score} sets{each} that hold {1 - rules.alpha:.4g}, "
        f"by one picture of each of {decision.patients} patients; not sure: a set of 0 or more than "
        f"{rules.most_classes}, or a p-value of strangeness of at most {rules.ood_level:g}."
    )


def _notes(decision: Decision, test: Cases, subgroups: Sequence[str]) -> list[str]:
    rules, notes = decision.rules, []
    if not rules.classwise:
        low, high = coverage_range(decision.patients, rules.alpha)
        notes.append(
            f"Promised is {1 - rules.alpha:.4g} of patients on average over calibrations; one with {decision.patients} "
            f"patients lies between {low:.3f} and {high:.3f} in 95 % of them."
        )
    for column, attribute_N in attributes(test.manifest, subgroups):
        small = [f"{group} ({len(rows)})" for group, rows in rows_of(attribute_N).items() if len(rows) < AT_LEAST]
        if small:
            notes.append(f"{column}: fewer than {AT_LEAST} cases are not measured: {', '.join(small)}.")
    return notes


def lines(decision: Decision, report: Report) -> list[str]:
    """What `dermis calibrate` prints."""
    rows = [(e, e.class_name or e.subgroup) for e in report.entries]
    said = [f"temperature {decision.temperature:.3g}"]
    said += [f"{e.metric:<24}{e.text()}" for e, part in rows if not part]
    said.append(f"n = {report.cases} test cases of {report.patients} patients")
    by_part: dict[str, list[str]] = {}
    for entry, part in rows:
        if part and entry.metric in ("coverage", "classes in a set", "not sure"):
            head = [] if part in by_part else [f"n = {entry.n}"]
            by_part.setdefault(part, []).extend([*head, f"{entry.metric} {entry.text()}"])
    return [*said, *(f"{part}: {', '.join(numbers)}" for part, numbers in by_part.items()), *report.notes]
