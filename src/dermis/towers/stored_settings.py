"""What a model folder says of itself (``dermis.json``): read and checked once for all who build a model of it."""

import json
from pathlib import Path
from typing import Any

from dermis.registry import unknown
from dermis.towers.layouts import SETTINGS

FORMAT = 1
NEEDS: dict[str, set[str]] = {
    "open_clip": set(),
    "two_tower": {"config", "names"},
    "branches": {"config", "parts"},
    "image_tower": {"config"},
}
"""kind of model -> what its settings must say"""


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What ``dermis.json`` of a model folder says; None where there is none.

    Raises ValueError for one that ``save`` did not write, or that a newer dermis did.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from None
    if not isinstance(settings, dict) or not isinstance(settings.get("format"), int):
        raise ValueError(f"{path} has no format number: it is not what dermis writes.")
    if settings["format"] > FORMAT:
        raise ValueError(f"{path} was written by dermis {settings.get('dermis')}, which is newer; upgrade dermis.")
    if settings.get("kind") not in NEEDS:
        raise unknown(f"kind of model in {path}", settings.get("kind"), NEEDS)
    if lacks := NEEDS[settings["kind"]] - settings.keys():
        raise ValueError(f"{path} lacks {', '.join(sorted(lacks))}: it is damaged.")
    return settings
