"""Other people's published models, read as what open_clip could have published: settings and tensors in its names.

Each file is one layout, with a key map that is complete in both directions: a tensor that is missing and one that has
no place are errors that name it; what a layout leaves out on purpose is on a list, and said. Everything that follows
(towers, saving, stock open_clip) is then the same for all (``dermis.towers.open_clip``).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

SETTINGS, OPEN_CLIP, TRANSFORMERS = "dermis.json", "open_clip_config.json", "config.json"


@dataclass(frozen=True)
class Layout:
    """A published model in open_clip's terms."""

    model_cfg: dict[str, Any]
    """as in open_clip_config.json, with two more settings that stock open_clip cannot say: ``act_kwargs`` of a timm
    trunk and ``text_cfg.attends_padding``"""
    preprocess_cfg: dict[str, Any]
    tensors: dict[str, Tensor]
    """by the names of open_clip's CustomTextCLIP (or CoCa)"""


def read_layout(folder: Path) -> Layout:
    """The open_clip-like model of a folder, recognised by its files.

    Raises ValueError, with a sentence, if it is none that is known, or if its tensors do not match its layout.
    """
    from dermis.towers.layouts import open_clip_folder, pmc_clip, transformers_clip, transformers_siglip

    for name in (OPEN_CLIP, SETTINGS):  # what stock open_clip cannot build, dermis says in its own settings
        if (folder / name).is_file():
            return open_clip_folder.read(folder, name)
    if pmc_clip.recognised(folder):
        return pmc_clip.read(folder)
    if (folder / TRANSFORMERS).is_file():
        kind = json.loads((folder / TRANSFORMERS).read_text(encoding="utf-8")).get("model_type")
        if kind == "clip":
            return transformers_clip.read(folder)
        if kind == "siglip":
            return transformers_siglip.read(folder)
        raise ValueError(
            f"{folder} holds a transformers model of type {kind!r}; two towers are read of clip and siglip."
        )
    raise ValueError(
        f"{folder} is no model folder: it has neither {SETTINGS} nor {OPEN_CLIP}, and is neither a CLIP or SigLIP of "
        "transformers nor PMC-CLIP."
    )
