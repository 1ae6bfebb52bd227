"""What the doctor found, as text for a person and as JSON for a bug report."""

import platform
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dermis.doctor.installed import (
    EXTRAS,
    combination_notes,
    package_notes,
    required,
    trouble,
    version,
)
from dermis.doctor.machine import Machine, gpu_notes, gpus, machine, machine_notes
from dermis.doctor.note import LEVELS, Note
from dermis.doctor.verdict import verdict, workers

if TYPE_CHECKING:
    from dermis.doctor.bottleneck import Measured

WIDTH = 120
GB = 2**30


def examine() -> tuple[dict[str, Any], Machine, list[Note]]:
    """Packages and machine: facts that can be written as JSON, the machine, and what there is to say about them.

    No fact holds a path, the name of a file, a person or a host.
    """
    notes = [*package_notes(), *combination_notes()]
    found = machine()
    facts: dict[str, Any] = {
        "dermis": version("dermis"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {package: version(package) for package in required()},
        "extras": {name: extra.versions() for name, extra in EXTRAS.items()},
        "machine": {**asdict(found), "usable": found.usable},
        "threads": None,
        "gpus": [],
        "features": [],
    }
    if trouble("torch") is None and trouble("timm") is None:
        import torch

        from dermis.doctor.compute import features

        facts |= {"threads": torch.get_num_threads(), "gpus": gpus(), "features": [asdict(f) for f in features()]}
        notes += [*machine_notes(found, torch.get_num_threads()), *gpu_notes()]
    return facts, found, notes


def measured_facts(measured: "Measured") -> dict[str, Any]:
    """The measurement and the verdict on it, to be written as JSON."""
    facts = asdict(measured)
    del facts["notes"]
    return facts | {"verdict": asdict(verdict(measured.rates))}


def text(facts: dict[str, Any], notes: Sequence[Note]) -> str:
    """What is installed, what is missing for what, the machine, and last what is wrong with them."""
    lines = [f"dermis {facts['dermis']}, Python {facts['python']}, {facts['system']}"]
    packages = ", ".join(f"{name} {found or 'MISSING'}" for name, found in facts["packages"].items())
    lines += textwrap.wrap(packages, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    lines += ["", *_extras(facts["extras"]), "", "This machine", *_machine(facts), ""]
    lines += ["What training computes with here", *_features(facts["features"]), ""] if facts["features"] else []
    return "\n".join([*lines, *note_lines(notes)])


def _extras(extras: dict[str, dict[str, str | None]]) -> Iterator[str]:
    there = [name for name, packages in extras.items() if None not in packages.values()]
    if len(there) < len(extras):
        yield "Not installed, and only needed for this; everything else works"
    for name, packages in extras.items():
        if missing := [package for package, found in packages.items() if found is None]:
            yield f"  {EXTRAS[name].needed_for}"
            yield f"      pip install 'dermis[{name}]'   (brings {', '.join(missing)})"
    yield f"Extras that are installed: {', '.join(there) or 'none'}"


def _machine(facts: dict[str, Any]) -> Iterator[str]:
    found = facts["machine"]
    limits = [f"{found['affinity']} of them for this process"] if found["affinity"] < found["processors"] else []
    limits += [f"time of {found['quota']:.3g} (control group)"] if found["quota"] is not None else []
    threads = f"; torch computes with {facts['threads']} threads" if facts["threads"] else ""
    yield f"  processors      {found['processors']}{''.join(', ' + limit for limit in limits)}{threads}"
    if found["memory"] is not None:
        limit = f", {found['memory_limit'] / GB:.1f} GB for this control group" if found["memory_limit"] else ""
        yield f"  memory          {found['memory'] / GB:.1f} GB{limit}"
    shared = (
        "none" if found["shared"] is None else f"{found['shared'] / GB:.2g} GB, free {found['shared_free'] / GB:.2g}"
    )
    yield f"  /dev/shm        {shared} (workers hand over batches through it)"
    for gpu in facts["gpus"]:
        memory = f"{gpu['memory'] / GB:.0f} GB, free {gpu['free'] / GB:.0f}"
        yield f"  GPU             {gpu['name']}, {memory}, capability {gpu['capability']}"
    if not facts["gpus"]:
        yield "  GPU             none that torch can use"


def _features(features: list[dict[str, Any]]) -> Iterator[str]:
    for feature in features:
        yield f"  {feature['name']:<16}{'yes' if feature['used'] else 'no':<5}{feature['why']}"


def measured_text(measured: "Measured") -> str:
    """The rates one under the other, the verdict, and what to try."""
    r, found = measured.rates, verdict(measured.rates)
    stage = f", stage {measured.stage}" if measured.stage else ""
    lines = [
        f"{r.unit.capitalize()} a second: {measured.method}{stage}, {measured.cases:,} training cases",
        f"  reading bytes                 {r.reading:>10,.1f}",
        f"  decoding                      {r.decoding:>10,.1f}",
        f"  whole loader, no workers      {r.alone:>10,.1f}",
    ]
    if r.loading is not None:
        lines.append(f"  {'whole loader, ' + workers(r.workers):<29} {r.loading:>10,.1f}")
    whole = f"a batch of {measured.batch_size} in memory"
    if measured.step_cases < measured.batch_size:
        whole += f", judged by {measured.step_cases} cases of it: a whole step takes too long here"
    lines.append(f"  training step                 {r.step:>10,.1f}   {whole}")
    if measured.unreadable:
        lines.append(
            f"  {measured.unreadable} of the pictures that were tried cannot be opened: `dermis check` names them"
        )
    lines += ["", found.sentence, *(f"  try: {wanted}" for wanted in found.tries)]
    if not r.on_gpu and r.at_work:
        lines.append(
            f"  Loader and model share {r.processors} processor(s): together each is slower than measured alone."
        )
    return "\n".join(lines)


def note_lines(notes: Sequence[Note]) -> list[str]:
    """The notes, the worst first; a sentence where there is none."""
    ordered = sorted(notes, key=lambda note: LEVELS.index(note.level))
    found = [f"{note.level:<8} {note.sentence}" for note in ordered]
    return found or ["Nothing is wrong with what is installed."]
