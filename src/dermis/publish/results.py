"""What a report and a decision's report say, as sections of a card and as the results that the model hub reads."""

import math
from collections.abc import Iterable
from typing import Any

from dermis.evaluation.report import UNTRAINED, Entry, Report

GROUPS = {"skin_tone": "skin tone", "patient.sex": "sex", "patient.age": "age", "source": "source"}
"""column -> what it is called; each is on the card, measured or not"""
NOT_RECORDED = "Not recorded."
OF_SETS = ("coverage", "coverage of patients", "classes in a set", "not sure", "accuracy where sure")
BANK = (
    "`decision.safetensors` holds feature vectors of training pictures, by which it knows what is strange: no picture "
    "and no id, but whoever has a training picture can see that it was one."
)


def own_entries(report: Report, name: str | None) -> list[Entry]:
    """The entries about the published model: those called ``name`` (the run's), or all but an untrained one's."""
    named = [e for e in report.entries if e.model == name]
    return named or [e for e in report.entries if e.model != UNTRAINED]


def protocols(report: Report) -> str:
    """How each protocol was done."""
    lines = [f"- **{s.protocol}** ({s.model}): {s.about or NOT_RECORDED}" for s in report.sections]
    return "\n".join(dict.fromkeys(lines)) or NOT_RECORDED


def by_group(entries: Iterable[Entry]) -> str:
    """A table for each attribute; an attribute that was not measured is said to be so."""
    entries, parts = list(entries), []
    for column, name in GROUPS.items():
        found = [e for e in entries if e.subgroup.startswith((f"{column} = ", f"{column}: ")) and not e.class_name]
        if not found:
            parts.append(f"By {name}: not measured; how it serves each group is not known.")
            continue
        head = ["| group | protocol | metric | n | value [95 % interval] |", "| --- | --- | --- | --: | --- |"]
        rows = [f"By {name}:", "", *head]
        for e in found:
            group = e.subgroup.removeprefix(f"{column} = ").removeprefix(f"{column}: ")
            rows.append(f"| {group} | {e.protocol} | {e.metric} | {e.n} | {e.text()} |")
        parts.append("\n".join(rows))
    note = "Groups differ in more than their name: a gap is a finding to explain. Groups of few cases are not measured."
    return "\n\n".join([*parts, note])


def of_decision(report: Report | None, exists: bool) -> str:
    """What a calibrated decision promises, and how often it kept that, for everybody and for each group."""
    if not exists:
        return "None is published with the model: nothing calibrates its probabilities or says when it is unsure."
    if report is None:
        return f"There is one in `decision/`; how it does was not recorded. {BANK}"
    overall = [e for e in report.entries if not e.subgroup and not e.class_name]
    rows = ["| metric | n | patients | value [95 % interval] |", "| --- | --: | --: | --- |"]
    rows += [f"| {e.metric} | {e.n} | {e.patients} | {e.text()} |" for e in overall]
    about = " ".join(section.about for section in report.sections)
    sets = [e for e in report.entries if e.subgroup and e.metric in OF_SETS]
    notes = "\n".join(f"- {note}" for note in report.notes)
    use = 'Once the folder is downloaded: `dermis.decide(FOLDER, "photo.jpg")`.'
    parts = [f"{about} {use}", f"On {report.dataset}, {report.split}:", "\n".join(rows), by_group(sets), notes, BANK]
    return "\n\n".join(part for part in parts if part)


def model_index(name: str, entries: Iterable[Entry]) -> dict[str, Any]:
    """The numbers about everybody as the model hub reads them in a card's front matter; nothing if there are none."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = [
        EvalResult(
            task_type=_task(e.protocol),
            task_name=e.protocol,
            dataset_type=e.dataset.lower().replace(" ", "-"),
            dataset_name=e.dataset,
            dataset_split=e.split,
            metric_type=e.metric.lower().replace(" ", "_"),
            metric_name=e.metric,
            metric_value=round(e.value, 4),
            metric_args={"n": e.n} | ({} if math.isnan(e.low) else {"low": round(e.low, 4), "high": round(e.high, 4)}),
        )
        for e in entries
        if not e.subgroup and not e.class_name and not math.isnan(e.value)
    ]
    return {"model-index": eval_results_to_model_index(name, results)} if results else {}


def _task(protocol: str) -> str:
    """The hub's name of the kind of task."""
    protocol = protocol.lower()
    if "retrieval" in protocol:
        return "image-text-retrieval"
    if "generation" in protocol:
        return "image-to-text"
    prompted = "prompt" in protocol or "zero-shot" in protocol
    return "zero-shot-image-classification" if prompted else "image-classification"
