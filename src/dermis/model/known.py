"""Published models by name: what they saw, whether they may be used, where they lie (``known_models.yaml``)."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

from dermis.recipe import build, read_yaml


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A published two-tower model, as its page describes it."""

    name: str
    data: str
    """what it was trained on"""
    licence: str | None = None
    """of the weights; None: not looked up, see the model's page"""
    parameters: int | None = None
    """millions, both towers; None: not known"""
    hub: str | None = None
    """ORG/REPO at huggingface.co; None: not there as a model"""


@cache
def known_models() -> dict[str, KnownModel]:
    """Short name -> model, in the file's order."""
    with as_file(files("dermis.model") / "known_models.yaml") as path:
        return {key: build(KnownModel, entry, key) for key, entry in read_yaml(path).items()}
