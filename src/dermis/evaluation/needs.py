"""What protocols need of a model and of cases, told before any picture is opened."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import DIAGNOSES, FROM_TRAINING, READING, EvaluationConfig, only
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
    for name, split in _without_diagnoses(manifest, config).items():
        raise ValueError(
            f"protocol {name!r} needs diagnoses, and {nobody_of(split)} has one: let the manifest's column `diagnosis` "
            'hold your labels (`dermis import csv … --options columns "diagnosis=COLUMN, …"`), or choose '
            "protocols that need none, such as retrieval for pictures with texts."
        )


def measurable(manifest: Manifest, config: EvaluationConfig) -> tuple[EvaluationConfig | None, list[str]]:
    """A recipe's evaluation without the protocols that need diagnoses where no case has one, and a note that says so;
    None where no protocol is left.

    Who trains on pictures without labels asked for the training, and not for these numbers.
    """
    lacking = _without_diagnoses(manifest, config)
    if not lacking:
        return config, []
    left = [name for name in config.protocols if name not in lacking]
    nobody = " and ".join(dict.fromkeys(map(nobody_of, lacking.values())))
    note = f"Not measured, for {nobody} has a diagnosis: {', '.join(lacking)}."
    return only(config, left) if left else None, [note]


def _without_diagnoses(manifest: Manifest, config: EvaluationConfig) -> dict[str, str]:
    """Protocol about diagnoses -> the first split that it looks at and that has none."""
    found = {}
    for name in (name for name in config.protocols if name in DIAGNOSES):
        for split in dict.fromkeys(["train", config.split] if name in FROM_TRAINING else [config.split]):
            if "diagnosis" not in scored_cases(manifest, split):
                found.setdefault(name, split)
    return found


def nobody_of(split: str) -> str:
    """How a sentence about cases that lack something begins."""
    return "no case" if split == "all" else f"no case of split {split!r}"


def _knows_texts(model: Any) -> bool:
    return hasattr(model, "project_image")
