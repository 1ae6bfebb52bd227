"""A decision in its model's folder: ``decision/decision.safetensors`` (numbers) and ``decision/decision.json`` (words).

What is read back is what was written, bit for bit. Nothing in it is executable.
"""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import dermis
from dermis.decision.decision import Decision
from dermis.decision.rules import Rules
from dermis.evaluation.linear_probe import Probe
from dermis.model.whole_folder import written_whole
from dermis.recipe import build, to_mapping

FORMAT = 1
FOLDER = "decision"
NUMBERS, WORDS, REPORT = "decision.safetensors", "decision.json", "report.json"


def write(decision: Decision, model_folder: Path, report: str | None = None) -> Path:
    """Put the decision, and what was measured of it (JSON), into the folder, in the place of an older one; all or
    nothing. Returns the folder ``decision``."""
    folder = model_folder / FOLDER
    with written_whole(folder) as scratch:
        numbers = {
            "weight": decision.probe.weight,
            "bias": decision.probe.bias,
            "shift": decision.probe.shift,
            "spread": decision.probe.spread,
            "threshold": decision.threshold,
            "bank": decision.bank,
            "distance": decision.distance,
        }
        save_file({name: np.ascontiguousarray(array) for name, array in numbers.items()}, scratch / NUMBERS)
        words = {
            "format": FORMAT,
            "dermis": dermis.__version__,
            "classes": list(decision.classes),
            "temperature": decision.temperature,
            "penalty": decision.probe.c,
            "tower": decision.tower,
            "rules": to_mapping(decision.rules),
        }
        (scratch / WORDS).write_text(json.dumps(words, indent=1, ensure_ascii=False), encoding="utf-8")
        if report is not None:
            (scratch / REPORT).write_text(report, encoding="utf-8")
    return folder


def read(model_folder: Path) -> Decision:
    """The decision of a model folder; raises ValueError, with a sentence, if there is none or it is broken."""
    folder = model_folder / FOLDER
    if not (folder / WORDS).is_file():
        raise ValueError(f"{model_folder} has no decision: fit one with `dermis calibrate {model_folder} MANIFEST`.")
    try:
        words = json.loads((folder / WORDS).read_text(encoding="utf-8"))
        if words["format"] > FORMAT:
            raise ValueError(f"it was written by dermis {words['dermis']}, which is newer; upgrade dermis.")
        numbers = load_file(folder / NUMBERS)
        probe = Probe(*(numbers[name] for name in ("weight", "bias", "shift", "spread")), c=float(words["penalty"]))
        decision = Decision(
            classes=tuple(words["classes"]),
            rules=build(Rules, words["rules"], "rules"),
            tower=words["tower"],
            probe=probe,
            temperature=float(words["temperature"]),
            threshold=numbers["threshold"],
            bank=numbers["bank"],
            distance=numbers["distance"],
        )
        _check(decision)
    except (KeyError, TypeError, AttributeError, OSError, SafetensorError, ValueError) as error:
        raise ValueError(f"{folder} cannot be read: {error or type(error).__name__}") from None
    return decision


def _check(decision: Decision) -> None:
    classes, dim = len(decision.classes), decision.bank.shape[-1]
    expected = {"weight": (classes, dim), "bias": (classes,), "shift": (dim,), "spread": (dim,)}
    shapes = {name: (getattr(decision.probe, name).shape, shape) for name, shape in expected.items()}
    shapes["threshold"] = (decision.threshold.shape, (classes,))
    shapes["bank"] = (decision.bank.shape, (len(decision.bank), dim))
    shapes["distance"] = (decision.distance.shape, (len(decision.distance),))
    for name, (found, wanted) in shapes.items():
        if found != wanted or not found[0]:
            raise ValueError(f"{name} is {found} and must be {wanted}.")
