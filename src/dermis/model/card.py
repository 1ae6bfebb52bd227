"""The model card: README.md of a model folder, from its towers, its recipe and its report.

``save`` writes what the model itself knows; ``dermis.publish`` adds to the same sections what it measured and cleaned.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from torch import nn

import dermis
from dermis.model import open_clip_layout
from dermis.towers.branches import Branches
from dermis.towers.two_tower import TwoTower
from dermis.towers.weights import HUB

INTENDED_USE = (
    "Research on dermatology pictures and texts. It is not a medical device: it must not be used to diagnose, to "
    "triage or to choose a treatment."
)
OUT_OF_SCOPE = (
    "Any decision about a patient; use by people who take its answer for a diagnosis; pictures that are not of skin; "
    "finding out who is on a picture."
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
    """default: the recipe's name, without a recipe the folder's"""
    description: str | None = None
    intended_use: str = INTENDED_USE
    out_of_scope: str = OUT_OF_SCOPE
    limits: str = LIMITS
    data: str | None = None
    """what it was trained on: sets, counts, splits, licences"""
    licence: str | None = None
    """SPDX name of the weights' licence; mind those of the data and of the weights it started from"""
    citation: str | None = None
    """BibTeX"""
    contact: str | None = None
    """whom to ask"""

    @classmethod
    def read(cls, text: str) -> "Card":
        """What people said on a card that ``page`` wrote; what it does not state is None or the default."""
        _, _, body = re.sub(r"\n\nWritten by dermis \S+\s*$", "", text).partition("\n# ")
        title, _, body = body.partition("\n")
        description, *parts = re.split(r"^## ", body, flags=re.MULTILINE)
        said = {head.strip(): words.strip() for head, _, words in (part.partition("\n") for part in parts)}
        found = {field: said[section] for field, section in SECTIONS.items() if section in said}
        found = {field: words for field, words in found.items() if not words.startswith(NOT_STATED)}
        if "citation" in found:
            found["citation"] = found["citation"].removeprefix("```bibtex\n").removesuffix("\n```")
        return cls(title=title.strip() or None, description=description.strip() or None, **found)


SECTIONS = {
    "intended_use": "Intended use",
    "out_of_scope": "Out of scope",
    "limits": "Limits",
    "data": "Training data",
    "licence": "Licence",
    "citation": "Citation",
    "contact": "Contact",
}
"""field of ``Card`` -> the section that says it"""
NOT_STATED = "Not stated."
TAGGED_LICENCES = re.compile(
    r"apache-2\.0|mit|bsd-[23]-clause|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-4\.0|cc-by(-nc)?(-sa)?-3\.0|[al]?gpl-3\.0|"
    r"mpl-2\.0|openrail|unknown|other"
)
"""licences that the model hub knows by these names; it takes every other as ``other`` beside a name"""


def render(
    model: nn.Module, card: Card, name: str, recipe: object | None = None, report: Mapping[str, Any] | None = None
) -> str:
    """README.md as text: front matter of the model hub, then what is known; what is not is said to be missing.

    ``report``: the evaluation's, as in its report.json; its notes say how the model came to be, too.
    """
    title = card.title or getattr(recipe, "name", None) or name
    return page(front_matter(model, card), title, sections(model, card, name, recipe, report))


def front_matter(model: nn.Module, card: Card) -> dict[str, Any]:
    """What the model hub reads of a card."""
    tags = ["dermatology", "dermis"] + ([] if open_clip_layout.why_not(model) else ["open_clip"])
    named = re.sub(r"[^a-z0-9.]+", "-", (card.licence or "unknown").lower()).strip("-.")
    licence = {"license": named} if TAGGED_LICENCES.fullmatch(named) else {"license": "other", "license_name": named}
    return licence | {"library_name": "dermis", "tags": tags}


def sections(
    model: nn.Module, card: Card, name: str, recipe: object | None = None, report: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Title -> text in the order of the card; the description has no title. ``name``: what ``dermis.load`` takes."""
    mind = f"{NOT_STATED} Mind the licences of the data and of the weights it started from."
    found = {
        "": card.description,
        "Intended use": card.intended_use,
        "Out of scope": card.out_of_scope,
        "Use": _usage(model, name),
        "Model": _architecture(model),
        "Training data": card.data or NOT_STATED,
        "Results": _results(report),
        "Notes": "\n".join(f"- {note}" for note in (report or {}).get("notes", [])),
        "Limits": card.limits,
        "Licence": card.licence or mind,
        "Citation": f"```bibtex\n{card.citation}\n```" if card.citation else None,
        "Contact": card.contact,
        "Recipe": "`recipe.yaml` holds every setting of the run." if recipe is not None else None,
    }
    return {title: text for title, text in found.items() if text}


def page(front: Mapping[str, Any], title: str, said: Mapping[str, str]) -> str:
    """The card as text."""
    head = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True, width=120)
    body = [f"# {title}"]
    for section, text in said.items():
        body += [f"## {section}", text] if section else [text]
    body.append(f"Written by dermis {dermis.__version__}.")
    return f"---\n{head}---\n\n" + "\n\n".join(body) + "\n"


def _usage(model: nn.Module, name: str) -> str:
    if isinstance(model, TwoTower):
        question = 'dermis.classify(model, "photo.jpg", ["melanoma", "nevus"])'
    elif isinstance(model, Branches):
        pictures = ", ".join(f'{column}="{column}.jpg"' for column in model.pictures)
        each = (
            f'dermis.encode_pictures(model.picture_towers["{model.pictures[-1]}"], ["{model.pictures[-1]}.jpg"]).shape'
        )
        question = each if model.predicting is None else f"dermis.predict_labels(model, {pictures})"
    else:
        question = 'dermis.encode_pictures(model, ["photo.jpg"]).shape'
    code = ["```python", "import dermis", f'model = dermis.load("{name}")', f"print({question})", "```"]
    if not isinstance(model, TwoTower):
        return "\n".join(code)
    reason = open_clip_layout.why_not(model)
    if reason:
        code += ["", f"Stock open_clip cannot load it: {reason}."]
    else:
        note = open_clip_layout.loading_note(model)
        more = f", {note}" if note else ""
        # open_clip looks for weights of another name on the hub, and finds ours in a folder
        folder, first = ("FOLDER", ", once downloaded") if name.startswith(HUB) else (name, "")
        code += ["", f'Stock open_clip loads it too{first}: `create_model_and_transforms("local-dir:{folder}"{more})`.']
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
    draws = f"{n_boot} draws of a " if (n_boot := (report or {}).get("n_boot")) else ""
    note = f"Intervals: {draws}bootstrap over patients (else lesions, else cases). Numbers by group: report.json."
    return "\n".join([*rows, "", note])


def _number(entry: Mapping[str, Any]) -> str:
    if entry["value"] is None:
        return "undefined"
    interval = "" if entry["low"] is None else f" [{entry['low']:.3f}, {entry['high']:.3f}]"
    return f"{entry['value']:.3f}{interval}"
