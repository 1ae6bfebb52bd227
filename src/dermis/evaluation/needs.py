"""What protocols need of a model and of cases, told before any picture is opened."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import DIAGNOSES, FROM_TRAINING, READING, EvaluationConfig
from dermis.evaluation.setting import scored_cases


def refuse_without_texts(model: Any, protocols: Iterable[str]) -> None:
    """Raise ValueError where one of the protocols compares pictures with texts and the model has pictures only."""
    if not _knows_texts(model) and (asked := [name for name in protocols if name in READING]):
        raise ValueError(
            f"protocol {asked[0]!r} needs a model with a text tower; this one has pictures only, "
            "for which there are linear_probe, knn, similar and finetune."
        )


def with_possible_defaults(model: Any, config: EvaluationConfig) -> tuple[EvaluationConfig, list[str]]:
    """The default protocols without those that need texts, for a model of pictures only, and a note that says so.

    Nobody asked for these by name. Protocols that were chosen stay as they are.
    """
    if _knows_texts(model) or config.protocols != EvaluationConfig().protocols:
        return config, []
    left_out = [name for name in config.protocols if name in READING]
    possible = replace(config, protocols=[name for name in config.protocols if name not in READING])
    return possible, [f"Left out of the default protocols: {', '.join(left_out)}, for the model has no text tower."]


def refuse_without_diagnoses(manifest: Manifest, config: EvaluationConfig) -> None:
    """Raise ValueError where a protocol is about diagnoses and no case of a split that it looks at has one."""
    for name in config.protocols:
        if name not in DIAGNOSES:
            continue
        for split in dict.fromkeys(["train", config.split] if name in FROM_TRAINING else [config.split]):
            if "diagnosis" not in scored_cases(manifest, split):
                where = "no case" if split == "all" else f"no case of split {split!r}"
                raise ValueError(
                    f"protocol {name!r} needs diagnoses, and {where} has one: let the manifest's column `diagnosis` "
                    'hold your labels (`dermis import csv … --options columns "diagnosis=COLUMN, …"`), or choose '
                    "protocols that need none, such as retrieval for pictures with texts."
                )


def _knows_texts(model: Any) -> bool:
    return hasattr(model, "project_image")
