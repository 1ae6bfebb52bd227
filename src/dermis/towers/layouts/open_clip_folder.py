"""open_clip's own folder, and those of its forks: DermLIP, MAKE, O-MAKE.

Forks write settings that stock open_clip refuses; those that change nothing about the two towers are accepted, and
said. Settings that nobody has documented are refused, because they could change the model.
"""

import json
import logging
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

from open_clip.model import CLIPTextCfg, CLIPVisionCfg, convert_to_custom_text_state_dict

from dermis.towers.layouts import SETTINGS, Layout, panderm
from dermis.towers.weights import find_checkpoint, read_checkpoint

log = logging.getLogger(__name__)

FOREIGN = {
    "patch_embeddings": "MAKE's training returned patch vectors; here every tower does",
    "sigma": "the threshold of MAKE's patch pooling, used in training only",
    "pretrain_path": "where the image tower started, in a file of the authors",
}
"""settings of the forks in ``vision_cfg`` -> what they meant (SiyuanYan1/MAKE@ded1959, SiyuanYan1/Derm1M@92d8fa9)"""
OURS = ("text_cfg", "attends_padding")
"""ours, of PMC-CLIP (``Layout``)"""
POSITIONS = "position_ids"
"""a buffer of old transformers versions: the numbers 0, 1, 2, …"""


def read(folder: Path, name: str) -> Layout:
    """Settings in the file ``name`` and weights; PanDerm's image tower is recognised by its tensors (``panderm``)."""
    settings = json.loads((folder / name).read_text(encoding="utf-8"))
    settings = settings.get("config", settings) if name == SETTINGS else settings
    if "model_cfg" not in settings:
        raise ValueError(f"{folder / name} says no open_clip model: it has no 'model_cfg'.")
    model_cfg = without_foreign(settings["model_cfg"], str(folder))
    tensors = read_checkpoint(find_checkpoint(folder))
    tensors = {k: v for k, v in tensors.items() if not k.endswith(POSITIONS)}
    if "positional_embedding" in tensors:  # CLIP keeps its text tower at the top, CustomTextCLIP under text.
        tensors = convert_to_custom_text_state_dict(tensors)
    for number in ("logit_scale", "logit_bias"):
        if number in tensors and not model_cfg.get("nonscalar_logit_scale"):
            tensors[number] = tensors[number].reshape(())
    if panderm.recognised(tensors):
        model_cfg, tensors = panderm.translated(model_cfg, tensors, str(folder))
    return Layout(model_cfg, settings.get("preprocess_cfg", {}), tensors)


def without_foreign(model_cfg: dict[str, Any], source: str) -> dict[str, Any]:
    """``model_cfg`` without the settings of ``FOREIGN``; raises ValueError for those that nobody has documented."""
    model_cfg, said = deepcopy(model_cfg), []
    for tower, cfg in (("vision_cfg", CLIPVisionCfg), ("text_cfg", CLIPTextCfg)):
        known = {field.name for field in fields(cfg)}
        for name in [name for name in model_cfg[tower] if name not in known and (tower, name) != OURS]:
            if tower == "text_cfg" or name not in FOREIGN:
                raise ValueError(
                    f"{source} has a setting {tower}.{name} that open_clip does not know; "
                    f"of the forks' settings these are: vision_cfg.{', vision_cfg.'.join(FOREIGN)}."
                )
            said.append(f"{tower}.{name}: {FOREIGN[name]}")
            del model_cfg[tower][name]
    if said:
        log.warning("%s: settings that change nothing here are left out (%s)", source, "; ".join(said))
    return model_cfg
