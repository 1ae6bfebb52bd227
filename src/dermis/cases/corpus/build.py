"""A manifest of what was collected -> the corpus, and a record of what was left out and why."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from dermis.cases.corpus import pictures as rules
from dermis.cases.corpus.captions import other_language, unfit_length
from dermis.cases.corpus.leakage import KINDS, Evaluation, shared_cases
from dermis.cases.corpus.look import Classifier, Looks, look, picture_paths
from dermis.cases.corpus.near_captions import repeated_captions
from dermis.cases.manifest import Manifest
from dermis.registry import unknown

RULES = {
    "caption-length": "no caption, or one of too few or too many words",
    "language": "caption clearly in another language",
    "near-caption": "caption nearly that of an earlier case",
    "unreadable-picture": "picture missing or damaged",
    "blank-picture": "picture of one colour",
    "equal-picture": "file of an earlier case, byte for byte",
    "near-picture": "picture that looks the same as an earlier case's",
    "not-skin": "no skin, by the classifier",
    "panels": "figure of several panels",
    "leak-equal-picture": "file of an evaluation case",
    "leak-near-picture": "picture that looks the same as an evaluation case's",
    "leak-id": "patient, lesion or original picture of an evaluation case",
    "leak-caption": "caption nearly that of an evaluation case",
}
"""in the order in which they are applied"""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """What a corpus must be like."""

    least_words: int = 3
    """words of a caption, at least"""
    most_words: int = 400
    """words of a caption, at most"""
    language: str = "en"
    """the captions' language, ISO 639-1"""
    caption_likeness: float = 0.8
    """shared three-word shingles (Jaccard) from which two captions are nearly the same"""
    skin_at_least: float = 0.5
    """probability of skin that a picture must have, where a classifier is given"""
    skip: tuple[str, ...] = ()
    """rules that are not applied"""
    flag: tuple[str, ...] = ("near-caption", "panels", "leak-caption")
    """rules whose cases stay and are listed beside; the others' cases are dropped"""

    def __post_init__(self) -> None:
        for name in (*self.skip, *self.flag):
            if name not in RULES:
                raise unknown("rule of a corpus", name, RULES)
        if not 0 <= self.skin_at_least <= 1:
            raise ValueError(f"skin_at_least is a probability, 0 to 1, not {self.skin_at_least!r}.")


class Applied(NamedTuple):
    """What one rule did: to how many cases it was applied, and how many it dropped or flagged; why not, if not."""

    rule: str
    cases: int
    dropped: int
    flagged: int
    not_applied: str | None = None


@dataclass(frozen=True)
class Corpus:
    """The outcome of ``build``."""

    kept: Manifest
    """may be empty"""
    dropped: pd.DataFrame
    """the dropped cases with their columns, and `rule` and `reason` before them: each case once"""
    flagged: pd.DataFrame
    """`case_id`, `rule`, `reason` of kept cases"""
    applied: tuple[Applied, ...]
    leaks: pd.DataFrame
    """what the corpus shared with each evaluation before that was dropped (``leakage.shared_cases``, case ids)"""


def build(
    manifest: Manifest,
    config: CorpusConfig,
    evaluations: Mapping[str, Manifest] | None = None,
    *,
    pictures: bool = True,
    skin: Classifier | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Applies the rules in the order of ``RULES``, each to the cases that those before it left.

    So a case has one reason, and a copy stays where its original was dropped for another reason. Without ``pictures``
    none is opened and the rules about them are not applied. Raises ValueError as the rules do, and for a classifier
    without pictures.
    """
    if skin is not None and not pictures:
        raise ValueError("a skin classifier has no effect where no picture is opened.")
    state = _State(manifest, config)
    for rule, find in _caption_rules(config):
        state.apply(rule, find, None if "caption" in manifest else "the manifest has no captions")
    looks = None
    if pictures:
        wants_panels = "panels" not in config.skip
        looks = look(manifest.root, picture_paths(state.left), panels=wants_panels, skin=skin, progress=progress)
    for rule, find in _picture_rules(looks or Looks(), config):
        why = None if pictures else "no picture was opened"
        if rule == "not-skin" and pictures and skin is None:
            why = "no classifier was given"
        state.apply(rule, find, why)
    leaks = _apart(state, looks, evaluations or {}, progress)
    return Corpus(state.left, state.dropped_table(), state.flagged_table(), tuple(state.applied), leaks)


Find = Callable[[Manifest], pd.Series]
"""what is left -> position and reason of the cases objected to"""


class _State:
    def __init__(self, manifest: Manifest, config: CorpusConfig) -> None:
        self.left, self.config = manifest, config
        self.dropped: list[pd.DataFrame] = []
        self.flagged: list[pd.DataFrame] = []
        self.applied: list[Applied] = []

    def apply(self, rule: str, find: Find, not_applied: str | None = None) -> None:
        if rule in self.config.skip:
            not_applied = "left out by --skip"
        if not_applied or not len(self.left):
            self.applied.append(Applied(rule, 0, 0, 0, not_applied or "no case is left"))
            return
        found, cases = find(self.left).sort_index(), len(self.left)
        rows = found.index.to_numpy(dtype=np.int64)
        hit = self.left.table.iloc[rows].reset_index(drop=True)
        hit.insert(0, "reason", found.to_numpy(dtype=object))
        hit.insert(0, "rule", rule)
        if rule in self.config.flag:
            self.flagged.append(hit[["case_id", "rule", "reason"]])
            self.applied.append(Applied(rule, cases, 0, len(hit)))
        else:
            self.dropped.append(hit)
            self.left = self.left.select(~self.left.table.index.isin(rows))
            self.applied.append(Applied(rule, cases, len(hit), 0))

    def dropped_table(self) -> pd.DataFrame:
        columns = ["rule", "reason", *self.left.table.columns]
        return pd.concat(self.dropped, ignore_index=True)[columns] if self.dropped else pd.DataFrame(columns=columns)

    def flagged_table(self) -> pd.DataFrame:
        """Of the cases that are left in the end."""
        columns = ["case_id", "rule", "reason"]
        table = pd.concat(self.flagged, ignore_index=True) if self.flagged else pd.DataFrame(columns=columns)
        return table[table["case_id"].isin(self.left.table["case_id"])].reset_index(drop=True)


def _caption_rules(config: CorpusConfig) -> Iterator[tuple[str, Find]]:
    yield "caption-length", lambda left: unfit_length(left.table["caption"], config.least_words, config.most_words)
    yield "language", lambda left: other_language(left.table["caption"], config.language)
    yield (
        "near-caption",
        lambda left: repeated_captions(left.table["caption"], left.table["case_id"], config.caption_likeness),
    )


def _picture_rules(looks: Looks, config: CorpusConfig) -> Iterator[tuple[str, Find]]:
    yield "unreadable-picture", lambda left: rules.unreadable(left.table["image"], looks)
    yield "blank-picture", lambda left: rules.blank(left.table["image"], looks)
    yield "equal-picture", lambda left: rules.equal_pictures(left.table["image"], left.table["case_id"], looks)
    yield "near-picture", lambda left: rules.near_pictures(left.table["image"], left.table["case_id"], looks)
    yield "not-skin", lambda left: rules.not_skin(left.table["image"], looks, config.skin_at_least)
    yield "panels", lambda left: rules.panels(left.table["image"], looks)


def _apart(
    state: _State,
    looks: Looks | None,
    evaluations: Mapping[str, Manifest],
    progress: Callable[[int, int], None] | None,
) -> pd.DataFrame:
    """Applies the rules about leakage; returns what was shared, by case id."""
    shared = pd.DataFrame(columns=["row", "kind", "evaluation", "case", "reason"])
    if any(kind not in state.config.skip for kind in KINDS) and len(state.left):
        sets = {}
        for name, manifest in evaluations.items():
            seen = None if looks is None else look(manifest.root, picture_paths(manifest), progress=progress)
            sets[name] = Evaluation(manifest, seen)
        shared = shared_cases(state.left, looks, sets, state.config.caption_likeness)
    shared.insert(1, "case_id", state.left.table["case_id"].to_numpy()[shared["row"].astype(int)])
    shared = shared.drop(columns="row")
    for kind in KINDS:
        why = None if evaluations else "no evaluation was given"
        if evaluations and looks is None and kind.endswith("picture"):
            why = "no picture was opened"
        state.apply(kind, lambda left, kind=kind: _of_kind(left, shared[shared["kind"] == kind]), why)
    return shared


def _of_kind(left: Manifest, shared: pd.DataFrame) -> pd.Series:
    reasons = shared.groupby("case_id", sort=False)["reason"].agg("; ".join)
    found = left.table["case_id"].map(reasons)
    return found.dropna()
