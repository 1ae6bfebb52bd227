"""Which cases of two manifests are kin: they share a case, patient, lesion, origin or picture, directly or by a chain.

What is learnt about a case from another must not come from its kin. An id counts whatever its ``source`` says (one
public set contains another under a new name), so two hospitals that both have a patient "1" lose a source too many
rather than one too few.

Shapes: N query cases, M reference cases, P pairs of their union (queries first).
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd

from dermis.cases.columns import GROUP_KEYS
from dermis.cases.corpus.look import look, picture_paths, rows_by_digest
from dermis.cases.groups import linked_groups
from dermis.cases.manifest import Manifest
from dermis.pictures.hash import Fingerprint, twins


def kinship(query: Manifest, reference: Manifest, same_P2: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A number for each case, equal for kin: int64 (N,) of the queries and (M,) of the reference.

    ``same_P2``: positions in the union that show one picture (``same_pictures``); their whole groups are then kin.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = ["case_id", *GROUP_KEYS]
    tables = [m.table.reindex(columns=ids).astype("string") for m in (query, reference)]
    both = pd.concat(tables, ignore_index=True)
    group_U, names = pd.factorize(linked_groups(both))
    case_U, cases = pd.factorize(both["case_id"])
    same_P2 = np.empty((0, 2), np.int64) if same_P2 is None else same_P2
    first = np.concatenate([group_U, group_U[same_P2[:, 0]]])
    second = np.concatenate([case_U + len(names), group_U[same_P2[:, 1]]])
    nodes = len(names) + len(cases)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(nodes, nodes))
    kin_U = connected_components(graph, directed=False)[1][group_U].astype(np.int64)
    return kin_U[: len(query)], kin_U[len(query) :]


def same_pictures(
    query: Manifest, reference: Manifest, *, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Pairs (P, 2) of positions in the union whose pictures are equal files or twins (``pictures.hash.twins``).

    Opens each picture of both once. Pictures of one colour, and those that cannot be opened, are nobody's twins.
    """
    prints: dict[str, Fingerprint] = {}
    rows_of: dict[str, list[int]] = {}
    total = sum(len(picture_paths(manifest)) for manifest in (query, reference))
    for manifest, row, done in ((query, 0, 0), (reference, len(query), len(picture_paths(query)))):
        counted = None if progress is None else lambda n, _, done=done: progress(done + n, total)
        looks = look(manifest.root, picture_paths(manifest), progress=counted)
        for digest, rows in rows_by_digest(manifest, looks).items():
            if not looks.fingerprints[digest].flat:
                prints[digest] = looks.fingerprints[digest]
                rows_of.setdefault(digest, []).extend(row + r for r in rows)
    # a chain through each file's rows is enough, and so is one pair of rows for each pair of twins
    pairs = [(a, b) for rows in rows_of.values() for a, b in pairwise(rows)]
    first = [rows[0] for rows in rows_of.values()]
    pairs += [(first[a], first[b]) for a, b in twins(list(prints.values()))]
    return np.array(pairs, np.int64).reshape(-1, 2)
