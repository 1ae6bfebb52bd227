"""The cases of an evaluation: each split's pictures embedded once, its diagnoses as labels.

Shapes: N cases, D tower width, E width of the space shared with texts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dermis.cases.manifest import Manifest
from dermis.cases.targets import UNKNOWN, labels_of
from dermis.evaluation.config import CLASSIFYING, EvaluationConfig
from dermis.evaluation.inputs import Inputs
from dermis.language.prompts import class_list
from dermis.registry import unknown

Embed = Callable[[Manifest], tuple[np.ndarray, np.ndarray]]
"""a manifest -> the image tower's pooled vectors (N, D), before any projection, and which pictures are readable (N,)"""


@dataclass(frozen=True)
class Cases:
    """Cases of one split whose pictures could be read; ``label`` (N,) is −1 without a diagnosis of a class."""

    manifest: Manifest
    trunk: np.ndarray
    """the image tower's pooled vectors (N, D)"""
    projected: np.ndarray | None
    """the same in the space shared with texts (N, E); none for a model without texts"""
    label: np.ndarray

    def select(self, rows: np.ndarray) -> "Cases":
        """The cases at these positions."""
        projected = None if self.projected is None else self.projected[rows]
        return Cases(self.manifest.select(rows), self.trunk[rows], projected, self.label[rows])

    def features(self, stage: str) -> np.ndarray:
        """What probes and neighbours see; raises ValueError for "projected" where there is no projection."""
        if stage == "trunk":
            return self.trunk
        if self.projected is None:
            raise ValueError("a model without texts has no projected features: set probe_features to trunk.")
        return self.projected

    def diagnosed(self) -> "Cases":
        """Those with a diagnosis; raises ValueError if there are none."""
        return self.select(self.with_label())

    def with_label(self) -> np.ndarray:
        """Positions of the cases with a diagnosis; raises ValueError if there are none."""
        rows = np.flatnonzero(self.label != UNKNOWN)
        if not len(rows):
            raise ValueError("no case of the split has a diagnosis, or one of the classes that were asked for.")
        return rows


@dataclass
class Setting:
    """Model, cases and settings, with each split embedded once."""

    model: Any
    manifest: Manifest
    config: EvaluationConfig
    embed: Embed
    training_texts: list[str] | None
    cache: Path | None = None
    """folder of pooled vectors, for protocols that embed by themselves"""
    classes: list[str] = field(init=False)
    inputs: Inputs = field(init=False)
    bad_pictures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """what protocols found that the report is to say"""
    _splits: dict[str, Cases] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.config.merge:
            self.classes = merged_classes(self.manifest, self.config.merge)
        else:
            self.classes = classes_of(self.manifest, self.config.classes)
        classified = set(self.config.protocols) & set(CLASSIFYING)
        positive = [self.config.positive] if self.config.positive is not None and classified else []
        for name in [*positive, *(self.config.synonyms or ()), *(self.config.prompt_names or ())]:
            if name not in self.classes:
                raise unknown("class", name, self.classes)
        if self.config.split != "train" and (copies := int(self.manifest.copies().sum())):
            self.notes.append(f"{copies} of {len(self.manifest)} cases are augmented copies: learned from, not scored.")
        self.inputs = Inputs(self)

    def cases(self, split: str) -> Cases:
        if split not in self._splits:
            chosen = scored_cases(self.manifest, split)
            trunk_ND, ok_N = self.embed(chosen)
            self.bad_pictures += chosen.table["case_id"][~ok_N].tolist()
            if not ok_N.any():
                raise ValueError(f"no picture of split {split!r} can be read.")
            readable = chosen.select(np.asarray(ok_N, dtype=bool))
            trunk_ND = np.asarray(trunk_ND)[ok_N]
            labels = diagnoses_of(readable, self.classes, self.config.merge)
            self._splits[split] = Cases(readable, trunk_ND, project(self.model, trunk_ND), labels)
        return self._splits[split]

    @property
    def probe_features(self) -> str:
        """What kNN and probes see: as the settings say, else the space shared with texts if the model has one."""
        return self.config.probe_features or ("projected" if hasattr(self.model, "project_image") else "trunk")

    def held_out(self) -> Cases | None:
        """The cases of `valid`, by which probes may choose; none if there are none, or if they are scored."""
        there = "split" in self.manifest and bool((self.manifest.table["split"] == "valid").any())
        return self.cases("valid") if there and self.config.split != "valid" else None


def scored_cases(manifest: Manifest, split: str) -> Manifest:
    """The cases of a split; `all`: every case, whatever its split. Augmented copies are learned from, never scored."""
    if split != "train" and (copy_N := manifest.copies()).any():
        manifest = manifest.select(~copy_N)
    return manifest if split == "all" else manifest.split(split)


def project(model: Any, trunk_ND: np.ndarray) -> np.ndarray | None:
    """The tower's vectors through the model's projection, float32 (N, E); None if the model has none."""
    if not hasattr(model, "project_image"):
        return None
    import torch

    from dermis.model.look import evaluating

    with evaluating(model), torch.inference_mode():
        pooled_ND = torch.as_tensor(trunk_ND, device=next(model.parameters()).device)
        return model.project_image(pooled_ND).float().cpu().numpy()


def classes_of(manifest: Manifest, classes: list[str] | str | None) -> list[str]:
    """Class names in label order: given, of a published list, or the manifest's diagnoses sorted (maybe none)."""
    if isinstance(classes, str):
        return class_list(classes)
    if classes is None:
        return sorted(manifest.table["diagnosis"].dropna().unique()) if "diagnosis" in manifest else []
    if repeated := {c for c in classes if classes.count(c) > 1}:
        raise ValueError(f"class {repeated.pop()!r} is named twice.")
    return list(classes)


def merged_classes(manifest: Manifest, merge: Mapping[str, Sequence[str]]) -> list[str]:
    """The classes that diagnoses are merged into, in order; ValueError for a diagnosis that no case has."""
    there = classes_of(manifest, None)
    for diagnosis in (d for diagnoses in merge.values() for d in diagnoses):
        if diagnosis not in there:
            raise unknown("diagnosis in merge", diagnosis, there)
    return list(merge)


def diagnoses_of(
    manifest: Manifest, classes: list[str], merge: Mapping[str, Sequence[str]] | None = None
) -> np.ndarray:
    """Position of each case's diagnosis in ``classes`` (N,), −1 where it is null.

    With ``merge`` (class -> diagnoses) the position of the class that the diagnosis is of, −1 for a diagnosis of none.
    Raises ValueError, without it, for a diagnosis that is not among the classes.
    """
    if "diagnosis" not in manifest:
        return np.full(len(manifest), UNKNOWN)
    if merge:
        place = {d: classes.index(name) for name, diagnoses in merge.items() for d in diagnoses}
        return np.array([place.get(d, UNKNOWN) for d in manifest.table["diagnosis"]], np.int64)
    return labels_of(manifest, {"diagnosis": classes})[:, 0]
