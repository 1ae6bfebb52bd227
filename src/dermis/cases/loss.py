"""What a manifest holds that would be lost if another were written over it."""

from dermis.cases.columns import PATHS
from dermis.cases.manifest import Manifest


def what_is_lost(before: Manifest, after: Manifest) -> list[str]:
    """Each kind of thing that ``before`` has and ``after`` has not: columns, values of the same cases, cases.

    Pictures may have moved, and TEXT_origin goes with its text.
    """
    older, newer = (manifest.table.set_index("case_id") for manifest in (before, after))
    cases = older.index.intersection(newer.index)
    left_out = len(older) - len(cases)
    older, newer = older.loc[cases], newer.loc[cases]
    columns = [c for c in older if c in before and not c.endswith("_origin")]
    lost = [f"the column(s) {', '.join(gone)}"] if (gone := [c for c in columns if c not in after]) else []
    for column in (c for c in columns if c in after and c not in PATHS):
        # as objects, for a column of numbers may have become words
        old, new = older[column].astype(object), newer[column].astype(object)
        if count := int((old.notna() & (old != new)).sum()):
            lost.append(f"other values in {column} ({count} case(s))")
    if left_out:
        lost.append(f"{left_out} other case(s)")
    return lost
