"""One case, a few lines: encode pictures and texts, say which of some names fits a picture, or a case's labels."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from dermis.model.generate import generator_of
from dermis.model.look import evaluating, evaluation_view, one_of_each
from dermis.pictures.store import read_bytes
from dermis.towers.branches import Branches
from dermis.towers.two_tower import TwoTower

Picture = str | Path | Image.Image | np.ndarray | Tensor
"""a file; a Pillow picture; RGB uint8 (H, W, 3); or a view that the tower's transform has made, float (3, H, W)"""
TEMPLATE = "This is a skin image of {}."


def view_of(picture: Picture, model: nn.Module) -> Tensor:
    """What the model's image tower sees of ``picture``, float32 (3, H, W).

    Raises ValueError (PictureError) for a file that is not there or is no picture, and for arrays of another shape.
    """
    transform = (model.image if isinstance(model, TwoTower) else model).transform
    if isinstance(picture, Tensor):
        if not picture.is_floating_point() or picture.ndim != 3 or picture.shape[0] != 3:
            raise ValueError(f"a tensor must be a normalised view, float (3, H, W); got {tuple(picture.shape)}.")
        return picture.float()
    if isinstance(picture, str | Path):
        path = Path(picture).expanduser()
        return torch.from_numpy(evaluation_view(read_bytes(path.parent, path.name), transform))
    if isinstance(picture, Image.Image):
        picture = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        shown = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise ValueError(f"a picture is a file, a Pillow picture or a uint8 array (H, W, 3); got {shown}.")
    return torch.from_numpy(evaluation_view(picture, transform))


def encode_pictures(
    model: nn.Module, pictures: Sequence[Picture], *, normalize: bool = True, batch_size: int = 32
) -> np.ndarray:
    """Embeddings (N, E) float32 of pictures; of an image tower alone, its pooled vectors (N, D).

    Raises ValueError for no pictures, for one that cannot be read, and for a model that looks at several of a case.
    """
    if isinstance(model, Branches):
        towers = " or ".join(f'model.picture_towers["{column}"]' for column in model.pictures)
        raise ValueError(f"this model has a tower for each picture of a case: give {towers} in its place.")
    if isinstance(pictures, str | Path) or not len(pictures):
        raise ValueError(f"give a list of one picture or more, such as ['photo.jpg']; got {pictures!r}.")
    device, rows = next(model.parameters()).device, []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(pictures), batch_size):
            views = [view_of(picture, model) for picture in pictures[start : start + batch_size]]
            view_BCHW = torch.stack(views).to(device)
            two = isinstance(model, TwoTower)
            row_BE = model.encode_image(view_BCHW) if two else model.features(view_BCHW).pooled_BD
            rows.append(nn.functional.normalize(row_BE, dim=-1) if normalize else row_BE)
    return torch.cat(rows).float().cpu().numpy()


def encode_texts(model: TwoTower, texts: Sequence[str], *, normalize: bool = True, batch_size: int = 256) -> np.ndarray:
    """Embeddings (N, E) float32 of texts; each distinct one is encoded once, short ones beside short ones.

    Raises ValueError for no texts, and for a model that knows none.
    """
    if not hasattr(model, "encode_text"):
        raise ValueError(f"this model ({type(model).__name__}) knows no texts, only pictures.")
    if isinstance(texts, str) or not texts:
        raise ValueError(f"give a list of one text or more, such as ['a melanoma']; got {texts!r}.")
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    device, rows = next(model.parameters()).device, []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(distinct), batch_size):
            ids = model.text.tokenizer(distinct[start : start + batch_size])
            tokens = torch.tensor([token for text in ids for token in text], dtype=torch.int64, device=device)
            offsets = torch.tensor([0, *map(len, ids)], device=device).cumsum(0)
            rows.append(model.encode_text(tokens, offsets, normalize))
    place = {text: row for row, text in enumerate(distinct)}
    return torch.cat(rows).float().cpu().numpy()[[place[text] for text in texts]]


def classify(model: TwoTower, picture: Picture, names: Sequence[str], template: str = TEMPLATE) -> dict[str, float]:
    """Each name's probability for one picture, the likeliest first: softmax of the scaled cosines with
    ``template`` filled with each name (Radford et al. 2021, Section 3.1.2).

    The probabilities compare the given names with each other only. Raises ValueError for no names, a template without
    {}, and a model that knows no texts.
    """
    text_CE = encode_texts(model, prompts(names, template))
    return name_probabilities(model, encode_pictures(model, [picture])[0], text_CE, names)


def prompts(names: Sequence[str], template: str = TEMPLATE) -> list[str]:
    """The template filled with each name; raises ValueError for no names, one that is there twice, or a template
    without {}."""
    if isinstance(names, str) or not names:
        raise ValueError(f"give a list of at least one name, such as ['melanoma', 'nevus']; got {names!r}.")
    if twice := [name for name in dict.fromkeys(names) if list(names).count(name) > 1]:
        raise ValueError(f"each name is given once; {twice[0]!r} is there {list(names).count(twice[0])} times.")
    if template.count("{}") != 1:
        raise ValueError(f"template {template!r} must hold {{}} exactly once, in the place of the name.")
    return [template.replace("{}", name) for name in names]


def name_probabilities(
    model: TwoTower, image_E: np.ndarray, text_CE: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    """``classify`` from embeddings of unit length."""
    scaled_C = torch.from_numpy(text_CE @ image_E).double() * model.logit_scale.exp().item()
    return _likeliest_first(zip(names, torch.softmax(scaled_C, dim=0).tolist(), strict=True))


def generate(model: TwoTower, picture: Picture, dialogue: str | None = None, **search: Any) -> str:
    """A text about one picture and, if there is one, the consultation about it (m2cg: the chief complaint).

    ``search``: settings of ``dermis.towers.generation.generate`` (strategy, beams, max_tokens, …). Raises ValueError
    for a model that says no texts, and for a dialogue where its generator was not taught to see one.
    """
    generator_of(model)  # before the picture is opened
    device = next(model.parameters()).device
    with evaluating(model):
        view_1CHW = view_of(picture, model)[None].to(device)
        return model.generate(view_1CHW, None if dialogue is None else [dialogue], **search)[0]


def predict_labels(model: Branches, **pictures: Picture) -> dict[str, dict[str, float]]:
    """What a model that was taught labels says of one case: label -> its classes' probabilities, the likeliest first.

    ``pictures``: one for each column that the model looks at, as in ``predict_labels(model, image="photo.jpg",
    dermoscopy="dermoscopy.jpg")``. Raises ValueError for a picture too few or too many, and for a model that was taught
    no labels. ``dermis.read_checklist`` makes the seven-point score of it.
    """
    if not isinstance(model, Branches):
        raise ValueError(f"this model ({type(model).__name__}) was taught no labels.")
    given, device = one_of_each(model.pictures, pictures), next(model.parameters()).device
    with evaluating(model), torch.inference_mode():
        views = {name: view_of(picture, model.picture_towers[name])[None] for name, picture in given.items()}
        feature_1D = model.encode_case({name: view.to(device) for name, view in views.items()})
    return label_probabilities(model, feature_1D)


def label_probabilities(model: Branches, feature_1D: Tensor) -> dict[str, dict[str, float]]:
    """``predict_labels`` from the features of the case's pictures (1, D)."""
    with evaluating(model), torch.inference_mode():
        said = model.predict(feature_1D)
    classes = model.predicting.classes
    return {k: _likeliest_first(zip(classes[k], p.squeeze(0).tolist(), strict=True)) for k, p in said.items()}


def _likeliest_first(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    return dict(sorted(pairs, key=lambda pair: -pair[1]))
