"""Does a split tear what belongs together? The audit that ``dermis check`` prints and training obeys."""

import pandas as pd

from dermis.cases.columns import SPLITS
from dermis.cases.finding import Finding
from dermis.cases.groups import linking_ids
from dermis.cases.manifest import Manifest

LINKED = "linked"
"""key of a group of which no single id is torn, but whose chain of ids (``cases/groups.py``) is"""


def leaks(manifest: Manifest, column: str = "split") -> pd.DataFrame:
    """Each id that stands in more than one part of ``column`` (``split`` or ``fold``).

    A table with the columns ``key`` (patient_id, lesion_id, origin_id or "linked"), ``value`` (the id) and the number
    of cases in each part, sorted; empty if nothing leaks. Cases outside every part do not count, but link.
    """
    table = manifest.table
    if column not in manifest:
        return pd.DataFrame(columns=["key", "value", *SPLITS])
    parts = SPLITS if column == "split" else sorted(table[column].dropna().unique())
    groups = manifest.groups()
    torn = {key: _torn(ids, table[column]) for key, ids in linking_ids(table).items()}
    explained = [groups[ids.isin(torn[key].index)] for key, ids in linking_ids(table).items()]
    linked = _torn(groups, table[column])
    torn[LINKED] = linked[~linked.index.isin(pd.concat(explained) if explained else [])]
    tables = [
        counts.reindex(columns=parts, fill_value=0).rename_axis("value").reset_index().assign(key=key)
        for key, counts in torn.items()
        if len(counts)
    ]
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["key", "value", *parts])
    found.columns.name = None
    return found[["key", "value", *parts]]


def assert_no_leak(manifest: Manifest) -> None:
    """Raise ValueError, with counts and an example, if the manifest's split tears a patient, a lesion or an origin."""
    if sentences := [finding.sentence for finding in leak_findings(manifest, "split")]:
        raise ValueError("\n".join([*sentences, "Make a split that keeps them together: `dermis split`."]))


def leak_findings(manifest: Manifest, column: str) -> list[Finding]:
    """One error for each kind of id that ``column`` tears."""
    findings = []
    for key, torn in leaks(manifest, column).groupby("key", sort=False):
        counts = torn.drop(columns=["key", "value"])
        parts = pd.Series([" and ".join(counts.columns[has]) for has in counts.to_numpy() > 0]).value_counts()
        between = "; ".join(f"{count} in {names}" for names, count in parts.items())
        examples = tuple(map(_example, torn["value"][:4], counts[:4].to_dict("records")))
        what = "group(s) of cases that their ids link" if key == LINKED else key
        sentence = f"{len(torn)} {what} stand in more than one {column} ({between}), for example {examples[0]}."
        findings.append(Finding("error", f"torn-by-{column}", str(key), len(torn), sentence, examples[1:]))
    return findings


def _torn(ids: pd.Series, parts: pd.Series) -> pd.DataFrame:
    """Cases per id and part, for the ids with more than one part."""
    several = parts.groupby(ids).nunique()
    rows = ids.isin(several.index[several > 1])
    return pd.crosstab(ids[rows].astype(object), parts[rows])


def _example(value: object, counts: dict[str, int]) -> str:
    return f"{value} ({', '.join(f'{part} {count}' for part, count in counts.items() if count)})"
