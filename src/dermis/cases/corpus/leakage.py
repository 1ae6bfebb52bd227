"""What a corpus for pre-training shares with the sets that it will be tested on.

Four kinds: the same file, a twin of the picture (``pictures.hash.twins``), an id of the patient, lesion or original
picture, a caption that is nearly the same. Shared ids count where both cases name the same `source`, or one names none:
"P1" of two hospitals is not one patient.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from dermis.cases.columns import GROUP_KEYS
from dermis.cases.corpus.look import Looks, rows_by_digest
from dermis.cases.corpus.near_captions import near_captions
from dermis.cases.corpus.pictures import twin_pictures
from dermis.cases.manifest import Manifest

KINDS = ("leak-equal-picture", "leak-near-picture", "leak-id", "leak-caption")


class Evaluation(NamedTuple):
    """A set that the corpus must not hold cases of."""

    manifest: Manifest
    looks: Looks | None
    """None: pictures are not compared"""


def shared_cases(
    corpus: Manifest, looks: Looks | None, evaluations: Mapping[str, Evaluation], likeness: float
) -> pd.DataFrame:
    """One row for each case of the corpus, kind and evaluation that share something.

    Columns ``row`` (position in the corpus), ``kind``, ``evaluation``, ``case`` (the first case of the evaluation that
    it shares with) and ``reason``.
    """
    found = []
    for name, evaluation in evaluations.items():
        cases = evaluation.manifest.table["case_id"].to_numpy()
        if looks is not None and evaluation.looks is not None:
            found += _pictures(corpus, looks, evaluation, name)
        for row, other, key in _ids(corpus.table, evaluation.manifest.table):
            reason = f"{key} is that of case {cases[other]} of {name}"
            found.append((row, "leak-id", name, cases[other], reason))
        if "caption" in corpus and "caption" in evaluation.manifest:
            for match in near_captions(corpus.table["caption"], likeness, evaluation.manifest.table["caption"]):
                case = cases[match.other]
                reason = f"the caption resembles that of case {case} of {name} ({match.resemblance:.2f})"
                found.append((match.row, "leak-caption", name, case, reason))
    table = pd.DataFrame(found, columns=["row", "kind", "evaluation", "case", "reason"])
    return table.drop_duplicates(["row", "kind", "evaluation"], ignore_index=True)


def _pictures(corpus: Manifest, looks: Looks, evaluation: Evaluation, name: str) -> list[tuple]:
    assert evaluation.looks is not None
    ours, theirs = rows_by_digest(corpus, looks), rows_by_digest(evaluation.manifest, evaluation.looks)
    cases = evaluation.manifest.table["case_id"].to_numpy()
    twin_of = twin_pictures(list(ours), list(theirs), looks, evaluation.looks)
    found = []
    for digest, rows in ours.items():
        if digest in theirs:
            kind, other, how = "leak-equal-picture", digest, "is, byte for byte,"
        elif digest in twin_of:
            kind, other, how = "leak-near-picture", twin_of[digest], "looks the same as"
        else:
            continue
        case = cases[theirs[other][0]]
        found += [(row, kind, name, case, f"the picture {how} that of case {case} of {name}") for row in rows]
    return found


def _ids(ours: pd.DataFrame, theirs: pd.DataFrame) -> list[tuple[int, int, str]]:
    """(row of ours, first row of theirs, which id) for shared ids; a case is its own original."""
    found = []
    for key in GROUP_KEYS:
        our_ids, their_ids = _of(ours, key), _of(theirs, key)
        places: dict[str, list[int]] = {}
        for other, value in enumerate(their_ids):
            if not pd.isna(value):
                places.setdefault(str(value), []).append(other)
        our_sources, their_sources = _of(ours, "source"), _of(theirs, "source")
        for row, value in enumerate(our_ids):
            for other in [] if pd.isna(value) else places.get(str(value), []):
                sources = our_sources.iloc[row], their_sources.iloc[other]
                if any(map(pd.isna, sources)) or sources[0] == sources[1]:
                    found.append((row, other, f"{key} {value}"))
                    break
    return found


def _of(table: pd.DataFrame, column: str) -> pd.Series:
    values = table[column] if column in table else pd.Series(None, index=table.index, dtype=object)
    return values.fillna(table["case_id"]) if column == "origin_id" else values
