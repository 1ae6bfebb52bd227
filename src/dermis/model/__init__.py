"""A trained thing as a folder: save, load, card, embedding of pictures; open_clip's layout for two towers."""

from dermis import torchvision_operators  # noqa: F401 (before anything here imports timm or open_clip)
from dermis.model.folder import load, save

__all__ = ["load", "save"]
