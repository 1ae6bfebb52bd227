"""Values that spell "missing" instead of being null: "UNK", "No visual concepts", -1, 999."""

import pandas as pd

from dermis.cases.columns import GROUP_KEYS
from dermis.cases.finding import Finding

WORDS = frozenset(
    """
    |na|n/a|n.a.|nan|nat|none|null|nil|unk|unknown|missing|undefined|unspecified|undetermined|?|??|-|--|.|#n/a|<na>
    |not available|not applicable|not specified|not reported|not known|not recorded|tbd|-1|-9|-99|-999|-1.0|-9.0
    |no visual concepts|no definitive diagnosis|no body location information|no symptom information|no age information
    |no gender information|no information|no caption
    """.replace("\n", "")
    .replace("    ", "")
    .split("|")
)
"""in lower case; the sentences beginning with "no" are those of Derm1M"""

BELOW = (-1, -9, -99, -999, -9999)
"""in a column of numbers otherwise not negative"""
ABOVE = (999, 9999, 99999)
"""in a column of numbers otherwise less than half as large"""


def sentinel_findings(table: pd.DataFrame) -> list[Finding]:
    """One finding for each column that spells missing; an error in ids, which such a value makes one patient."""
    findings = []
    for column in table:
        counts = sentinels(table[column].explode() if column == "sentences" else table[column])
        if len(counts):
            listed = ", ".join(f"{value!r} ({count})" for value, count in counts[:5].items())
            harm = " and would make one group of all these cases" if column in GROUP_KEYS else ""
            sentence = f"{column} spells missing as {listed}{harm}: missing is null."
            level = "error" if column in GROUP_KEYS else "warning"
            findings.append(Finding(level, "sentinel", column, int(counts.sum()), sentence))
    return findings


def sentinels(values: pd.Series) -> pd.Series:
    """value -> how often, for the values of a column that spell missing."""
    counts = values.dropna().value_counts()
    if not pd.api.types.is_numeric_dtype(values):
        return counts[[str(value).strip().casefold() in WORDS for value in counts.index]]
    below = counts.index[counts.index < 0]
    if len(below) == 1 and below[0] in BELOW:
        return counts[below]
    largest = counts.index.sort_values()[-2:]
    if len(largest) == 2 and largest[1] in ABOVE and largest[0] < largest[1] / 2:
        return counts[largest[1:]]
    return counts[:0]
