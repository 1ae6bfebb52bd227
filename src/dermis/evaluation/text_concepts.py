"""Which findings generated texts mention: against those of the reference, and against what the picture shows.

A text mentions a concept of the lexicon if it states it at least once: not negated, not in doubt, not past and not of
somebody else, read as `dermis knowledge` reads (``language/knowledge.reader``). English only, as the lexicon is.

Shapes: N cases, C concepts, R weight vectors (bootstrap draws).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dermis.evaluation.metrics import macro_mean, ratio
from dermis.language.knowledge import reader
from dermis.language.lexicon import default_lexicon
from dermis.language.ontology import default_ontology


def mentioned_concepts(texts: Sequence[str]) -> list[frozenset[str]]:
    """The lexicon's concepts that each text states."""
    read = reader(default_ontology(), default_lexicon())
    return [frozenset(read(text).concepts) for text in texts]


def concept_statistics(
    texts: Sequence[str], references: Sequence[str]
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """What ``bootstrap.intervals`` takes: case weights (R, N) -> "concept F1 (micro)" and "concept F1 (macro)".

    Micro: 2 · hits / (mentions in texts + in references), all concepts together. Macro: the mean of that over the
    concepts that either mentions; NaN where nobody mentions any. Raises ValueError if the texts and references differ
    in number.
    """
    if len(texts) != len(references):
        raise ValueError(f"each text needs its reference: there are {len(texts)} texts, {len(references)} references.")
    said, meant = mentioned_concepts(texts), mentioned_concepts(references)
    names = sorted(frozenset().union(*said, *meant))
    said_NC, meant_NC = (np.array([[c in own for c in names] for own in rows], dtype=float) for rows in (said, meant))
    shape = (len(texts), len(names))
    said_NC, meant_NC = said_NC.reshape(shape), meant_NC.reshape(shape)

    def statistics(weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        twice_RC, all_RC = 2 * weight_RN @ (said_NC * meant_NC), weight_RN @ (said_NC + meant_NC)
        return {
            "concept F1 (micro)": ratio(twice_RC.sum(axis=1), all_RC.sum(axis=1)),
            "concept F1 (macro)": macro_mean(ratio(twice_RC, all_RC)),
        }

    return statistics


class Unsupported(NamedTuple):
    """Of each case the concepts that its text mentions and that have a score, and how many of them score too low."""

    mentioned_N: np.ndarray  # noqa: N815 (shapes are in the names)
    unsupported_N: np.ndarray  # noqa: N815

    def share(self, weight_RN: np.ndarray) -> np.ndarray:
        """Unsupported of all mentioned (R,), a statistic for ``bootstrap.interval``; NaN where nothing is mentioned."""
        return ratio(weight_RN @ self.unsupported_N, weight_RN @ self.mentioned_N)


def unsupported_concepts(texts: Sequence[str], concept_scores: pd.DataFrame, threshold: float) -> Unsupported:
    """How much of what the texts mention the pictures do not support: a score below ``threshold``.

    ``concept_scores``: a row a text and a column a concept, as zero-shot concept annotation gives them for the text's
    own picture (``concept_annotation.concept_scores``); a column belongs to the lexicon's concept of that name or
    spelling ("milia_like_cysts"). A concept without a column, or with NaN, is not judged. Raises ValueError if rows and
    texts differ in number, if no column is a concept of the lexicon, or if two are the same one.
    """
    if len(texts) != len(concept_scores):
        raise ValueError(f"each text needs its picture's scores: {len(texts)} texts, {len(concept_scores)} rows.")
    lexicon = default_lexicon()
    column_of: dict[str, str] = {}
    for column in concept_scores:
        concept = lexicon.find(str(column))
        if concept in column_of:
            raise ValueError(f"the columns {column_of[concept]!r} and {column!r} are both the concept {concept!r}.")
        if concept is not None:
            column_of[concept] = column
    if not column_of:
        raise ValueError(f"none of the columns {', '.join(map(str, concept_scores))} is a concept of the lexicon.")
    said = mentioned_concepts(texts)
    mentioned_NC = np.array([[concept in own for concept in column_of] for own in said], dtype=bool)
    score_NC = concept_scores[list(column_of.values())].to_numpy(dtype=float)
    mentioned_NC = mentioned_NC.reshape(score_NC.shape) & ~np.isnan(score_NC)
    return Unsupported(mentioned_NC.sum(axis=1), (mentioned_NC & (score_NC < threshold)).sum(axis=1))
