"""The model card: README.md of a model folder, from its towers, its recipe and its report."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

import dermis
from dermis.model import open_clip_layout
from dermis.towers.branches import Branches
from dermis.towers.two_tower import TwoTower

INTENDED_USE = (
    "Research on dermatology pictures and texts. It is not a medical device: it must not be used to diagnose, to "
    "triage or to choose a treatment."
)
LIMITS = (
    "It knows what its training cases show: other cameras, skin tones, body sites, ages and diseases may be served "
    "worse, and a probability that it gives is not calibrated for another population. Check the report by group before "
    "any use, and test on your own cases."
)


@dataclass(kw_only=True)
class Card:
    """What only people know about a model."""

    title: str | None = None
    """default: the folder's name"""
    description: str | None = None
    intended_use: str = INTENDED_USE
    limits: str = LIMITS
    data: str | None = None
    """what it was trained on: sets, counts, splits, licences"""
    licence: str | None = None
    """SPDX name of the weights' licence; mind those of the data and of the weights it started from"""
    citation: str | None = None
    """BibTeX"""


def render(
    model: nn.Module, card: Card, name: str, recipe: object | None = None, report: Mapping[str, Any] | None = None
) -> str:
    """README.md as text: front matter of the model hub, then what is known; what is not is said to be missing.

    ``report``: the evaluation's, as in its report.json; its notes say how the model came to be, too.
    """
    tags = ["dermatology", "dermis"] + ([] if open_clip_layout.why_not(model) else ["open_clip"])
    front = [
        "---",
        f"license: {card.licence or 'unknown'}",
        "library_name: dermis",
        f"tags: [{', '.join(tags)}]",
        "---",
    ]
    sections = [
        ("", card.description),
        ("Intended use", card.intended_use),
        ("Use", _usage(model, name)),
        ("Model", _architecture(model)),
        ("Training data", card.data or "Not stated."),
        ("Results", _results(report)),
        ("Notes", "\n".join(f"- {note}" for note in (report or {}).get("notes", []))),
        ("Limits", card.limits),
        ("Licence", card.licence or "Not stated. Mind the licences of the data and of the weights it started from."),
        ("Citation", f"```bibtex\n{card.citation}\n```" if card.citation else None),
        ("Recipe", "`recipe.yaml` holds every setting of the run." if recipe is not None else None),
    ]
    body = [f"# {card.title or name}"]
    for title, text in sections:
        if text:
            body += [f"## {title}", text] if title else [text]
    return "\n".join(front) + "\n\n" + "\n\n".join(body) + f"\n\nWritten by dermis {dermis.__version__}.\n"


def _usage(model: nn.Module, name: str) -> str:
    if not isinstance(model, TwoTower):
        return f'```python\nimport dermis\n\nmodel = dermis.load("{name}")\n```'
    code = [
        "```python",
        "import dermis",
        "",
        f'model = dermis.load("{name}")',
        'print(dermis.classify(model, "photo.jpg", ["melanoma", "nevus"]))',
        "```",
    ]
    reason = open_clip_layout.why_not(model)
    if reason:
        code += ["", f"Stock open_clip cannot load it: {reason}."]
    else:
        note = open_clip_layout.loading_note(model)
        more = f", {note}" if note else ""
        code += ["", f'Stock open_clip loads it too: `create_model_and_transforms("local-dir:{name}"{more})`.']
    return "\n".join(code)


def _architecture(model: nn.Module) -> str:
    count = sum(p.numel() for p in model.parameters())
    lines = [f"- {type(model).__name__}, {count / 1e6:.1f} million weights"]
    if isinstance(model, TwoTower):
        towers = [("image", model.image), ("text", model.text)]
    else:
        towers = list(model.picture_towers.items()) if isinstance(model, Branches) else [("image", model)]
    config = model.config
    for name, tower in towers:
        own = getattr(config, name, getattr(config, "image", config)) if dataclasses.is_dataclass(config) else None
        size = sum(p.numel() for p in tower.parameters()) / 1e6
        lines.append(f"- {name} tower: {getattr(own, 'name', type(tower).__name__)}, {size:.1f} million weights")
    transform = towers[0][1].transform
    lines.append(
        f"- pictures: {transform.size[0]} x {transform.size[1]} pixels, mean {transform.mean}, std {transform.std}"
    )
    if isinstance(model, Branches) and "tables" in model.parts:
        schemas: Mapping[str, Any] = model.parts["tables"].schemas  # type: ignore[assignment]
        lines += [f"- table tower of level {level}: {', '.join(one.columns)}" for level, one in schemas.items()]
    if isinstance(model, Branches) and model.predicting is not None:
        lines += [f"- predicts {label}: {', '.join(names)}" for label, names in model.predicting.classes.items()]
    return "\n".join(lines)


def _results(report: Mapping[str, Any] | None) -> str:
    """The numbers about everybody and all classes; groups and single classes are in report.json."""
    found = [e for e in (report or {}).get("entries", []) if not e["subgroup"] and not e["class_name"]]
    if not found:
        return "None recorded."
    rows = [
        "| model | cases | protocol | metric | n | value [95 % interval] |",
        "| --- | --- | --- | --- | --: | --- |",
    ]
    for e in found:
        cases = f"{e['dataset']}, {e['split']}"
        rows.append(f"| {e['model']} | {cases} | {e['protocol']} | {e['metric']} | {e['n']} | {_number(e)} |")
    note = "Intervals: bootstrap over patients (else lesions, else cases). Numbers by group: report.json."
    return "\n".join([*rows, "", note])


def _number(entry: Mapping[str, Any]) -> str:
    if entry["value"] is None:
        return "undefined"
    interval = "" if entry["low"] is None else f" [{entry['low']:.3f}, {entry['high']:.3f}]"
    return f"{entry['value']:.3f}{interval}"
