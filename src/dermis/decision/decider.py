"""A model that decides: pictures of one case in, what it may be out, or that nobody should rely on it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from dermis.decision.decision import Decision
from dermis.decision.stored import read
from dermis.model import load
from dermis.model.cache import tower_key
from dermis.model.look import one_of_each, picture_towers
from dermis.model.use import Picture, encode_pictures
from dermis.towers.weights import FOLDER


@dataclass(frozen=True)
class Verdict:
    """What is decided of one case."""

    probabilities: dict[str, float]
    """calibrated, the likeliest first; they compare the classes with each other only"""
    possible: tuple[str, ...]
    """the prediction set, the likeliest first; it misses the truth in a share alpha of exchangeable cases"""
    ood: float
    """share of held-out pictures at least as far from the training pictures: small is strange"""
    sure: bool
    why: str
    """why not sure; empty if sure"""


class Decider:
    """A model with the decision that was fitted on it; call it with a case's pictures.

    Raises ValueError if the decision was fitted on other image towers: their features would mean nothing to it.
    """

    def __init__(self, model: nn.Module, decision: Decision) -> None:
        if (found := key_of(model)) != decision.tower:
            raise ValueError(
                f"the decision was fitted on image tower {decision.tower[:12]}… and this model's is {found[:12]}…: "
                "other weights, transform or version of timm. Fit it again with `dermis calibrate`."
            )
        self.towers, self.decision = picture_towers(model), decision

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu") -> "Decider":
        """Model and decision of a model folder."""
        return cls(load(folder, device), read(local_folder(folder)))

    def __call__(self, picture: Picture | None = None, **pictures: Picture) -> Verdict:
        """``picture`` is the column ``image``; a model that looks at several pictures wants each by its column."""
        if picture is not None and "image" in pictures:
            raise ValueError("image is given twice: with its name and without.")
        given = one_of_each(self.towers, pictures if picture is None else {"image": picture, **pictures})
        features = [encode_pictures(self.towers[name], [one], normalize=False) for name, one in given.items()]
        return self.verdict(np.concatenate(features, axis=1)[0])

    def verdict(self, feature_D: np.ndarray) -> Verdict:
        """What is decided of a case with these features, those of its pictures side by side."""
        judged, rules = self.decision.judge(feature_D[None]), self.decision.rules
        order = np.argsort(-judged.probability[0], kind="stable")
        classes = self.decision.classes
        possible = tuple(classes[c] for c in order if judged.possible[0, c])
        reasons = []
        if not possible:
            reasons.append("no class fits well enough")
        if len(possible) > rules.most_classes:
            reasons.append(f"{len(possible)} classes are possible")
        if judged.ood[0] <= rules.ood_level:
            reasons.append("the picture is unlike those that it learnt from")
        return Verdict(
            {classes[c]: float(judged.probability[0, c]) for c in order},
            possible,
            float(judged.ood[0]),
            bool(judged.sure[0]),
            " and ".join(reasons),
        )


def decide(source: Path | str | Decider, picture: Picture | None = None, **pictures: Picture) -> Verdict:
    """What a calibrated model decides of one case: probabilities, the set of possible classes, sure or not, and why.

    ``source``: a model folder after `dermis calibrate`, or for many cases a ``Decider.load(folder)``, which reads it
    once. ``pictures``: by column, where the model looks at several. Raises ValueError for a folder without a decision,
    a decision of another image tower, and for pictures that are missing or cannot be read.
    """
    decider = source if isinstance(source, Decider) else Decider.load(source)
    return decider(picture, **pictures)


def key_of(model: nn.Module) -> str:
    """A name for all that a case's features depend on (``model.cache.tower_key`` of each tower)."""
    keys = {name: tower_key(tower) for name, tower in picture_towers(model).items()}
    return hashlib.blake2b(repr(keys).encode(), digest_size=16).hexdigest()


def local_folder(source: Path | str) -> Path:
    """The folder on this machine that a decision is kept in; raises ValueError where there is none."""
    folder = Path(str(source).removeprefix(FOLDER))
    if not folder.is_dir():
        raise ValueError(f"{source} is no folder here: a decision is kept in its model's folder.")
    return folder
