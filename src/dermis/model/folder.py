"""Save and load a model as a folder: weights, what to build, card, recipe and report. Nothing in it is executable.

``model.safetensors`` and ``dermis.json`` make a model; ``open_clip_config.json`` lies beside them where stock open_clip
can load the folder too (``open_clip_layout``). A text tower with a tokenizer of its own keeps that in ``text/``, one of
transformers its settings too.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from safetensors.torch import save_file
from torch import nn

import dermis
from dermis.model import open_clip_layout
from dermis.model.card import Card, render
from dermis.model.whole_folder import written_whole
from dermis.recipe import build, to_mapping, write_yaml
from dermis.towers.branches import Branches
from dermis.towers.build import (
    HF,
    TRAINED,
    BranchesConfig,
    ImageTowerConfig,
    TwoTowerConfig,
    build_image_tower,
    build_two_tower,
    rebuild_branches,
)
from dermis.towers.fused_generator import FusedGenerator
from dermis.towers.hf_text import HFTextTower
from dermis.towers.image import ImageTower
from dermis.towers.layouts import OPEN_CLIP, SETTINGS, sm3
from dermis.towers.open_clip import OpenClipSettings, OpenClipTokenizer, open_clip_two_tower
from dermis.towers.stored_settings import FORMAT, read_settings
from dermis.towers.trained_text import TrainedTextTower
from dermis.towers.two_tower import TwoTower
from dermis.towers.weights import FOLDER, HUB, fetch_folder, load_strictly, read_weights

WEIGHTS = "model.safetensors"
TOKENIZER = "text/tokenizer.json"
OF_RUN = "model"
"""what `dermis train` calls the folder of every model, in the run's"""


def save(
    folder: Path | str,
    model: nn.Module,
    *,
    recipe: object | None = None,
    card: Card | None = None,
    report: Mapping[str, Any] | None = None,
) -> Path:
    """Write a ``TwoTower``, ``Branches`` or an ``ImageTower`` as a folder that appears whole; returns the folder.

    ``recipe``: the dataclass instance of the run. ``report``: what the evaluation wrote. Replaces a model that is there
    already; raises ValueError if something else is, or if the model does not know how it was built.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / SETTINGS).is_file():
        raise ValueError(f"{folder} holds something that is not a dermis model; choose another folder.")
    with written_whole(folder) as scratch:
        _write(scratch, model)
        if recipe is not None:
            write_yaml(recipe, scratch / "recipe.yaml")
        if report is not None:
            (scratch / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
        text = render(model, card or Card(), folder.name, recipe, report)
        (scratch / "README.md").write_text(text, encoding="utf-8")
    return folder


def _write(folder: Path, model: nn.Module) -> None:
    settings: dict[str, Any] = {"format": FORMAT, "dermis": dermis.__version__}
    tensors = model.state_dict()
    if isinstance(model, TwoTower) and isinstance(model.config, OpenClipSettings):
        settings |= {"kind": "open_clip"}
        if open_clip_layout.why_not(model) is not None:
            settings |= {"config": open_clip_layout.settings_of(model)}
    elif isinstance(model, TwoTower) and isinstance(model.config, TwoTowerConfig):
        settings |= {"kind": "two_tower", "config": to_mapping(_without_sources(model.config))}
        if model.generator is not None:
            settings |= {"generator": model.generator.settings}
    elif isinstance(model, Branches) and isinstance(model.config, BranchesConfig):
        image = dataclasses.replace(model.config.image, weights=None)
        config = dataclasses.replace(model.config, image=image, weights=None)
        settings |= {"kind": "branches", "config": to_mapping(config), "parts": model.settings}
    elif isinstance(model, ImageTower) and isinstance(model.config, ImageTowerConfig):
        settings |= {"kind": "image_tower", "config": to_mapping(dataclasses.replace(model.config, weights=None))}
    else:
        raise ValueError(
            f"{type(model).__name__} does not say how to build it again (`config`); towers made by "
            "dermis.towers.build do."
        )
    stock = open_clip_layout.why_not(model) is None
    settings["names"] = "open_clip" if stock or settings["kind"] == "open_clip" else "dermis"
    if settings["names"] == "open_clip":
        tensors = open_clip_layout.to_open_clip(model)
    if stock:
        (folder / OPEN_CLIP).write_text(json.dumps(open_clip_layout.settings_of(model), indent=2), encoding="utf-8")
    if isinstance(model, TwoTower) and isinstance(model.text, HFTextTower | TrainedTextTower):
        model.text.write(folder / "text")
    if isinstance(model, TwoTower) and isinstance(model.text.tokenizer, OpenClipTokenizer):
        tokenizer = model.text.tokenizer.tokenizer
        if hasattr(tokenizer, "save_pretrained"):
            tokenizer.save_pretrained(folder)
        if isinstance(model.text.encoder, HFTextEncoder):
            model.text.encoder.transformer.config.save_pretrained(folder)
    save_file(open_clip_layout.contiguous(tensors), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1), encoding="utf-8")


def _without_sources(config: TwoTowerConfig) -> TwoTowerConfig:
    """Where weights came from is the recipe's business; here they are all in one file."""
    text = dataclasses.replace(config.text, weights=None)
    if text.name.startswith(HF):
        text = dataclasses.replace(text, name=HF + "text")
    if text.name == TRAINED:
        text = dataclasses.replace(text, tokenizer=TOKENIZER)
    return dataclasses.replace(config, image=dataclasses.replace(config.image, weights=None), text=text)


def load(source: Path | str, device: torch.device | str = "cpu", *, quick_gelu: bool | None = None) -> nn.Module:
    """The model of a folder, ``local-dir:FOLDER`` or ``hf-hub:ORG/REPO``, in evaluation mode.

    The folder is one that ``save`` wrote, or somebody else's: stock open_clip's and its forks' (MAKE, DermLIP with a
    ViT or with PanDerm), a CLIP or SigLIP of transformers (MONET, MedSigLIP), or PMC-CLIP (``dermis.towers.layouts``).
    A .pth file, alone in its folder or named itself, is a checkpoint of SM3 (``dermis.towers.layouts.sm3``).
    ``quick_gelu`` overrides the activation that the settings of such a folder say. Raises ValueError, with a sentence,
    if the folder is none of these, if its weights do not fit, or if ``quick_gelu`` would have no effect.
    """
    checkpoint = sm3.named(str(source))
    folder = checkpoint.parent if checkpoint else fetch_folder(str(source))
    name = str(source) if str(source).startswith(HUB) else f"{FOLDER}{folder}"
    checkpoint = checkpoint or sm3.found(folder)
    if checkpoint is not None:
        _refuse(quick_gelu, checkpoint)
        return sm3.read(checkpoint).to(device).eval()
    settings = read_settings(folder)
    if settings is None and not (folder / OPEN_CLIP).is_file():
        refuse_run(folder)
    if settings is None or settings["kind"] == "open_clip":
        return open_clip_two_tower(name, quick_gelu=quick_gelu).to(device).eval()
    _refuse(quick_gelu, folder)
    tensors = read_weights(str(folder / WEIGHTS))
    if settings["kind"] == "image_tower":
        model = build_image_tower(build(ImageTowerConfig, settings["config"], SETTINGS), pretrained=False)
    elif settings["kind"] == "branches":
        return rebuild_branches(settings, tensors, str(folder)).to(device).eval()
    else:
        config = build(TwoTowerConfig, settings["config"], SETTINGS)
        if config.text.name.startswith(HF):
            config.text.name = f"{HF}{folder / config.text.name.removeprefix(HF)}"
        if config.text.name == TRAINED:
            config.text.tokenizer = str(folder / TOKENIZER)
        model = build_two_tower(config, pretrained=False)
        if "generator" in settings:
            model.generator = FusedGenerator(**settings["generator"])
        if settings["names"] == "open_clip":
            tensors = open_clip_layout.from_open_clip(model, tensors)
    load_strictly(model, tensors, str(folder))
    return model.to(device).eval()


def name_of(source: Path | str) -> str:
    """What people call a model: its repository's or folder's name; of RUN/model, as training leaves it, the run's."""
    if str(source).startswith(HUB):
        return str(source).rpartition("/")[2]
    folder = Path(os.path.abspath(str(source).removeprefix(FOLDER)))
    return folder.parent.name if folder.name == OF_RUN and folder.parent.name else folder.name


def refuse_run(folder: Path) -> None:
    """Raise ValueError where a run was given in the place of its model."""
    if (folder / OF_RUN / SETTINGS).is_file():
        raise ValueError(f"{folder} is no model folder; did you mean {folder / OF_RUN}, the model of this run?")


def _refuse(quick_gelu: bool | None, source: Path) -> None:
    if quick_gelu is not None:
        raise ValueError(f"{source} is no open_clip model, whose activation quick_gelu could set; leave it out.")
