"""Ask a model where it looked: one case in, maps out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dermis.explain.box import Box, seen_box
from dermis.explain.rollout import attention_layers, kind_of, rollout
from dermis.explain.similarity import has_projected_patches, similarity
from dermis.model.look import evaluating, one_of_each, picture_towers
from dermis.model.use import Picture, view_of
from dermis.registry import unknown

KINDS = ("similarity", "rollout")


@dataclass(frozen=True)
class Map:
    """One number a patch of what the model saw of a picture."""

    column: str
    """picture column, image or dermoscopy"""
    kind: str
    """similarity (``explain.similarity``) or rollout (``explain.rollout``)"""
    about: str
    """the text; empty for a roll-out, which is about no text"""
    values: np.ndarray
    """float32 (h, w) on the patch grid: cosines, or shares of the roll-out"""
    box: Box
    """left, top, right, bottom of what the model saw, as fractions of the upright original picture"""


def kinds_of(model: nn.Module) -> tuple[str, ...]:
    """The kinds of map that ``explain`` makes with this model; empty if none. Nothing runs."""
    rolls = all(attention_layers(tower) for tower in picture_towers(model).values())
    able = {"similarity": has_projected_patches(model), "rollout": rolls}
    return tuple(kind for kind in KINDS if able[kind])


def explain(
    model: nn.Module,
    pictures: Picture | Mapping[str, Picture],
    texts: Sequence[str] = (),
    kind: str | None = None,
) -> list[Map]:
    """Maps of one case: of each text for ``similarity``, of each picture column for ``rollout``.

    ``pictures``: the picture, or one for each column that the model looks at. ``kind``: default similarity with texts,
    roll-out without. The model is afterwards as it was. Raises ValueError for a kind that this model cannot do, texts
    too many or too few for the kind, a picture too few or too many, and for one that cannot be read.
    """
    if isinstance(texts, str):
        raise ValueError(f"texts is a list of texts; put {texts!r} in one.")
    kind = kind or ("similarity" if texts else "rollout")
    _check(model, texts, kind)
    towers = picture_towers(model)
    given = one_of_each(towers, pictures)
    device, found = next(model.parameters()).device, []
    with evaluating(model), torch.inference_mode():
        for column, tower in towers.items():
            view_CHW = view_of(given[column], tower).to(device)
            maps = similarity(model, view_CHW, texts) if kind == "similarity" else [rollout(tower, view_CHW)]
            box = seen_box(given[column], tower.transform)
            abouts = texts if kind == "similarity" else [""]
            found += [Map(column, kind, about, map_, box) for about, map_ in zip(abouts, maps, strict=True)]
    return found


def _check(model: nn.Module, texts: Sequence[str], kind: str) -> None:
    if kind not in KINDS:
        raise unknown("kind of map", kind, KINDS)
    able = kinds_of(model)
    if kind not in able:
        towers = " and ".join(dict.fromkeys(map(kind_of, picture_towers(model).values())))
        why = {
            "similarity": "compares projected patches with texts: it needs a model of pictures and texts whose image "
            "tower has patches as wide as its pooled vector",
            "rollout": "follows attention from token to token: it needs a plain vision transformer, without windows",
        }[kind]
        texts_too = "" if texts or "similarity" not in able else " (give texts)"
        can = f"it can do {' and '.join(able)}{texts_too}" if able else "it can do no other kind either"
        raise ValueError(f"{kind} {why}; this model's image tower is {towers}; {can}.")
    if kind == "similarity" and not (texts and all(text.strip() for text in texts)):
        raise ValueError("a similarity map is about a text: give at least one, and none that is empty.")
    if kind == "rollout" and texts:
        raise ValueError("a roll-out is about no text: leave the texts out, or take kind similarity.")
