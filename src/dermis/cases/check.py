"""Everything that can be wrong with a table of cases, found before it costs a training run: ``dermis check``."""

from collections.abc import Callable

import pandas as pd

from dermis.cases.columns import GROUP_KEYS
from dermis.cases.finding import LEVELS, Finding
from dermis.cases.labels import label_findings
from dermis.cases.leakage import leak_findings
from dermis.cases.manifest import Manifest
from dermis.cases.picture_audit import absent_pictures, picture_findings
from dermis.cases.schema import complaints
from dermis.cases.sentinels import sentinel_findings


def check(
    manifest: Manifest, *, pictures: bool = True, progress: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """What is wrong with a manifest, errors first.

    Without ``pictures`` none is opened; whether they are there is still looked up. ``progress`` is called with the
    number of pictures done and of all pictures. Nothing is raised: every defect is a finding.
    """
    table = manifest.table
    findings = [
        *_broken_contract(manifest),
        *sentinel_findings(table),
        *label_findings(manifest),
        *_contradictions(table),
        *_grouping(table),
        *leak_findings(manifest, "split"),
        *leak_findings(manifest, "fold"),
        *_untrained_classes(manifest),
        *(picture_findings(manifest, progress) if pictures else absent_pictures(manifest)),
    ]
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def _broken_contract(manifest: Manifest) -> list[Finding]:
    return [
        Finding("error", "duplicate-id" if "must be unique" in sentence else "contract", column, count, sentence)
        for column, count, sentence in complaints(manifest.table, manifest.categories)
    ]


def _contradictions(table: pd.DataFrame) -> list[Finding]:
    findings = []
    if {"lesion_id", "diagnosis"} <= set(table):
        several = _with_several(table["lesion_id"], table["diagnosis"])
        if len(several):
            sentence = f"{len(several)} lesion(s) have more than one diagnosis, for example {several[0]}."
            findings.append(
                Finding("warning", "contradicting-diagnosis", "diagnosis", len(several), sentence, tuple(several[1:4]))
            )
    return findings


def _grouping(table: pd.DataFrame) -> list[Finding]:
    """Ids that group too much, and tables that group nothing."""
    findings = []
    if {"lesion_id", "patient_id"} <= set(table):
        several = _with_several(table["lesion_id"], table["patient_id"])
        if len(several):
            sentence = (
                f"{len(several)} lesion_id belong to more than one patient, for example {several[0]}: these patients "
                "become one group. If lesions are numbered per patient, write patient and lesion together."
            )
            findings.append(
                Finding("warning", "lesion-of-patients", "lesion_id", len(several), sentence, tuple(several[1:4]))
            )
    if not any(table[column].notna().any() for column in GROUP_KEYS if column in table):
        sentence = f"no case has {', '.join(GROUP_KEYS)}: a split cannot keep cases of one patient together."
        findings.append(Finding("note", "no-groups", None, len(table), sentence))
    return findings


def _untrained_classes(manifest: Manifest) -> list[Finding]:
    table = manifest.table
    if "diagnosis" not in manifest or "split" not in manifest:
        return []
    cases = pd.crosstab(table["diagnosis"], table["split"])
    if "train" not in cases or not (absent := cases.index[cases["train"] == 0]).size:
        return []
    sentence = (
        f"{len(absent)} class(es) have no training case: {', '.join(absent[:5])}{', …' if len(absent) > 5 else ''}."
    )
    return [Finding("note", "untrained-class", "diagnosis", len(absent), sentence)]


def _with_several(ids: pd.Series, values: pd.Series) -> list[str]:
    """``L1 (nevus, melanoma)`` for each id that has more than one value."""
    counts = values.groupby(ids).nunique()
    several = counts.index[counts > 1]
    return [f"{key} ({', '.join(sorted(values[ids == key].dropna().unique())[:4])})" for key in several[:4]] + list(
        map(str, several[4:])
    )
