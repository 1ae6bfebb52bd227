"""The card of a published model: the sections that every card has, and what was measured, cleaned and exported.

What is not known is said to be not known.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dermis.evaluation.report import Report
from dermis.model.card import NOT_STATED, Card, front_matter, page, sections
from dermis.publish.origin import licences, said_by_recipe
from dermis.publish.results import NOT_RECORDED, by_group, model_index, of_decision, own_entries, protocols
from dermis.recipe import read_yaml
from dermis.towers.branches import Branches
from dermis.towers.trained_text import TrainedTextTower
from dermis.towers.two_tower import TwoTower

NOT_A_DEVICE = "**Not a medical device.** It is neither made nor approved for diagnosis, triage or treatment."
NO_ONNX = "None is published with the model."
WORDS = "The tokenizer in `text/` was learnt from the training texts: their frequent words are in it."
ORDER = (
    *("", "Not a medical device", "Intended use", "Out of scope", "Limits", "Use", "Model", "ONNX", "Training data"),
    *("Training", "Licence", "Other licences", "Results", "Protocols", "Results by group", "Calibrated decision"),
    *("Notes", "Citation", "Contact"),
)


def complete(folder: Path, model: nn.Module, card: Card, name: str, source: str, onnx: str | None) -> str:
    """README.md of the cleaned ``folder``. ``source``: what ``dermis.load`` takes; ``onnx``: about the graphs."""
    recipe: Mapping[str, Any] = read_yaml(folder / "recipe.yaml") if (folder / "recipe.yaml").is_file() else {}
    report = _report(folder / "report.json")
    own = [] if report is None else own_entries(report, recipe.get("name"))
    written = None if report is None else json.loads((folder / "report.json").read_text(encoding="utf-8"))
    said = sections(model, card, source, None, written)
    said |= {
        "Not a medical device": NOT_A_DEVICE,
        "ONNX": onnx or NO_ONNX,
        "Training": said_by_recipe(recipe),
        "Other licences": licences(recipe, report.dataset if report else None),
        "Protocols": protocols(report) if report else NOT_RECORDED,
        "Results by group": by_group(own),
        "Calibrated decision": of_decision(_report(folder / "decision/report.json"), (folder / "decision").is_dir()),
    }
    if isinstance(model, TwoTower) and isinstance(model.text, TrainedTextTower):
        said["Training"] += f"\n\n{WORDS}"
    if report is not None and report.synthetic:
        said["Results"] += "\n\nThe cases are synthetic: these numbers say nothing about patients."
    for section in ("Citation", "Contact"):
        said.setdefault(section, NOT_STATED)
    assert set(said) <= set(ORDER)
    front = front_matter(model, card) | {"pipeline_tag": _pipeline(model)} | model_index(name, own)
    return page(front, card.title or name, {title: said[title] for title in ORDER if title in said})


def _report(path: Path) -> Report | None:
    return Report.read(path) if path.is_file() else None


def _pipeline(model: nn.Module) -> str:
    """The hub's name of what the model is for."""
    if isinstance(model, TwoTower):
        return "zero-shot-image-classification"
    predicts = isinstance(model, Branches) and model.predicting is not None
    return "image-classification" if predicts else "image-feature-extraction"
