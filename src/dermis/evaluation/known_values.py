"""How much of some cases' tables a schema knows.

A category that was not among the training cases is read as missing, so a model that learnt female and male sees nothing
in F and M. That is no error of a table, and nothing but a count would show it.

Shapes: N cases, C columns of the schemas.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dermis.cases.table_schema import TableSchema

SHOWN = 5
"""known categories that a sentence names"""


def known_values(schemas: Mapping[str, TableSchema], table: pd.DataFrame) -> pd.DataFrame:
    """Which values of ``table`` the schemas (by level) read, bool (N, C); False: missing, or a category that they lack.

    Raises ValueError for a column of the wrong kind.
    """
    found = {}
    for schema in schemas.values():
        _, cat_NG, missing_NF = schema.arrays(table)
        of_F = np.array(schema.column_of_F)  # a direction has two features
        measured = enumerate([*schema.numbers, *schema.circular])
        found |= {column: ~missing_NF[:, of_F == i].any(axis=1) for i, column in measured}
        found |= {column: cat_NG[:, g] > 0 for g, column in enumerate(schema.categories)}
    return pd.DataFrame(found, index=table.index, dtype=bool)


def unknown_values(schemas: Mapping[str, TableSchema], table: pd.DataFrame) -> list[str]:
    """Of each column with categories that its schema lacks: how many values they are, the commonest, what is known."""
    known_NC, said = known_values(schemas, table), []
    categories = {column: values for schema in schemas.values() for column, values in schema.categories.items()}
    for column, values in categories.items():
        given = table[column].dropna() if column in table else pd.Series(dtype=object)
        unknown = given[~known_NC[column][given.index]]
        if len(unknown):
            count = f"all {len(given)}" if len(unknown) == len(given) else f"{len(unknown)} of {len(given)}"
            known = ", ".join(values[:SHOWN]) + (", …" if len(values) > SHOWN else "")
            example = unknown.value_counts().index[0]
            said.append(f"{column}, {count} values, such as {example!r} (known: {known})")
    return said


def known_said(
    schemas: Mapping[str, TableSchema], whose: str, splits: Mapping[str, pd.DataFrame]
) -> tuple[int, list[str]]:
    """Of how many columns something is known in the tables of these splits, and sentences on what is not.

    Raises ValueError if nothing of the split `train` is known, or nothing of what another split has.
    """
    counts = {}
    for name, table in splits.items():
        known_NC = known_values(schemas, table)
        counts[name] = int((~known_NC.any(axis=1)).sum())
        if known_NC.to_numpy().any():
            continue
        if unknown := unknown_values(schemas, table):
            raise ValueError(
                f"no metadata of the split `{name}` are known to {whose}, and all would count as missing: "
                f"{'; '.join(unknown)}."
            )
        if name == "train":
            where = f" in {', '.join(known_NC)}" if len(known_NC.columns) else ""
            raise ValueError(f"inputs with metadata need some in the split `train`, and its cases have none{where}.")
    table, notes = pd.concat(splits.values(), ignore_index=True), []
    if unknown := unknown_values(schemas, table):
        notes.append(f"Values that are not known to {whose} count as missing: {'; '.join(unknown)}.")
    if without := [f"{n} of {len(splits[name])} in split {name}" for name, n in counts.items() if n]:
        notes.append(f"Cases without any value that is known to {whose}: {', '.join(without)}.")
    return int(known_values(schemas, table).any().sum()), notes
