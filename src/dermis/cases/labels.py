"""Labels that are probably one label: other case or spacing, or one or two slips of the pen."""

import re
import unicodedata
from itertools import combinations

import pandas as pd

from dermis.cases.finding import Finding
from dermis.cases.manifest import Manifest

LABELS = ("diagnosis", "modality", "source")
SHORTEST = 5  # letters; shorter labels are codes, and "bcc" is not a slip for "scc"
MOST = 3000
TWO_SLIPS = 12  # letters from which two slips count as near


def label_findings(manifest: Manifest) -> list[Finding]:
    """One warning for each categorical column whose values hold likely misspellings of one another."""
    findings = []
    for column in manifest.table:
        is_label = column in LABELS or column.startswith("finding.") or column in manifest.categories
        pairs = near_labels(manifest.table[column]) if is_label else []
        if pairs:
            shown = tuple(f"{rare!r} ({n}) and {common!r} ({m})" for rare, n, common, m in pairs[:4])
            sentence = f"{column} has {len(pairs)} pair(s) of values that may be one value, for example {shown[0]}."
            findings.append(Finding("warning", "near-labels", column, len(pairs), sentence, shown[1:]))
    return findings


def near_labels(values: pd.Series) -> list[tuple[str, int, str, int]]:
    """Pairs (rarer label, its count, commoner label, its count) that differ as a slip of the pen does.

    Equal but for case, accents, spaces and punctuation; or one insertion, deletion, substitution or transposition
    apart, two from TWO_SLIPS letters on, if numbers ("type 1", "type 2") and the words' first letters are the same.
    Found by the letters left out: labels one slip apart share what remains when each loses at most one letter. A
    column with more than MOST distinct values holds no labels, and has no pairs.
    """
    counts = values.dropna().astype(str).value_counts()
    if len(counts) > MOST:
        return []
    by_key: dict[str, set[str]] = {}
    for label in counts.index:
        folded = _folded(label)
        for key in _shortened(folded) if len(folded) >= SHORTEST else {folded}:
            by_key.setdefault(key, set()).add(label)
    pairs = {pair for labels in by_key.values() for pair in combinations(sorted(labels), 2)}
    near = []
    for pair in sorted(pairs):
        common, rare = sorted(pair, key=lambda label: (-counts[label], label))
        if _is_slip(_folded(rare), _folded(common)):
            near.append((rare, int(counts[rare]), common, int(counts[common])))
    return near


def _folded(label: str) -> str:
    plain = unicodedata.normalize("NFKD", label).casefold()
    return re.sub(r"[\W_]+", " ", "".join(c for c in plain if not unicodedata.combining(c))).strip()


def _shortened(label: str) -> set[str]:
    """The label without any one letter, or without any two if it is long, and as it is."""
    once = {label} | {label[:i] + label[i + 1 :] for i in range(len(label))}
    return {s[:i] + s[i + 1 :] for s in once for i in range(len(s))} | once if len(label) >= TWO_SLIPS else once


def _is_slip(a: str, b: str) -> bool:
    if a == b:
        return True
    if _kept(a) != _kept(b):
        return False
    return _edits(a, b) <= (2 if min(len(a), len(b)) >= TWO_SLIPS else 1)


def _kept(label: str) -> tuple[list[str], str]:
    """What no slip changes: numbers, and first letters ("typical" is no misspelt "atypical")."""
    return re.findall(r"\d+", label), "".join(sorted(word[0] for word in label.split()))


def _edits(a: str, b: str) -> int:
    """Insertions, deletions, substitutions and transpositions of neighbours from a to b (optimal string alignment)."""
    before, last = list(range(len(b) + 1)), list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other)))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                row[j] = min(row[j], before[j - 2] + 1)
        before, last = last, row
    return last[-1]
