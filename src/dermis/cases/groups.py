"""Which cases belong together: the groups that no split may tear.

Two cases are linked when they share a patient, a lesion or an original picture; a group is what links connect, however
long the chain. So a photograph whose patient was not recorded stays with the other photographs of its lesion, and an
augmented copy stays with the case that it was made from (its ``origin_id`` is that case's ``case_id``).

What an augmented copy is, is decided here and nowhere else (``augmented_copies``). Copies are learned from, and never
choose an epoch or are scored.
"""

import numpy as np
import pandas as pd

from dermis.cases.columns import GROUP_KEYS


def linking_ids(table: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns of ids that link cases; a case without an origin is its own."""
    ids = {column: table[column] for column in GROUP_KEYS if column in table}
    if "origin_id" in ids:
        ids["origin_id"] = ids["origin_id"].fillna(table["case_id"])
    return ids


def augmented_copies(table: pd.DataFrame) -> pd.Series:
    """Per row: is it an augmented copy? It is, if its ``origin_id`` is the ``case_id`` of another row.

    Frames of one video are none: their origin is no case. So nothing tells copies whose originals were left out.
    """
    if "origin_id" not in table:
        return pd.Series(False, index=table.index)
    return table["origin_id"].isin(table["case_id"]) & (table["origin_id"] != table["case_id"])


def linked_groups(table: pd.DataFrame) -> pd.Series:
    """Per row the key of its group, ``patient_id:P1`` or ``lesion_id:L7`` or ``origin_id:O2`` or ``case_id:C3``.

    The key is the smallest patient of the group, else its smallest lesion, else origin, else case: it does not depend
    on the order of the rows. Rows without any of those ids are groups of their own.
    """
    component = _components(table)
    key = pd.Series(pd.NA, index=table.index, dtype="string")
    for column in (*GROUP_KEYS, "case_id"):
        if column in table and key.isna().any():
            ids = table[column].astype("string")
            key = key.fillna(column + ":" + ids.groupby(component).transform("min"))
    return key


def _components(table: pd.DataFrame) -> np.ndarray:
    """Connected components of the graph whose nodes are the rows and, beside them, the distinct ids."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, nodes, total = [], [], len(table)
    for column, ids in linking_ids(table).items():
        if column == "origin_id":  # a case that copies name answers to that name too, wherever it is from itself
            named = table["case_id"].where(table["case_id"].isin(ids))
            ids = pd.concat([ids, named], ignore_index=True)
        code, distinct = pd.factorize(ids)
        has = np.flatnonzero(code >= 0)
        rows.append(has % len(table))
        nodes.append(code[has] + total)
        total += len(distinct)
    if not rows:
        return np.arange(total)
    edges = (np.concatenate(rows), np.concatenate(nodes))
    graph = coo_array((np.ones(len(edges[0]), dtype=bool), edges), shape=(total, total))
    return connected_components(graph, directed=False)[1][: len(table)]
