"""One pass over the pictures of a manifest: which are missing, unreadable or blank, and what the others look like."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd

from dermis.cases.columns import PATHS
from dermis.cases.corpus.look import look
from dermis.cases.finding import Finding
from dermis.cases.manifest import Manifest
from dermis.cases.repeated_pictures import repeated_findings
from dermis.pictures.store import exists

FINGERPRINT_SIDE = 64
"""pixels of the shorter side that the fingerprint's 32 × 32 is made of, at least; more changes no bit that counts"""


def picture_findings(manifest: Manifest, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
    """Opens each picture once: missing, unreadable, of one colour; equal and nearly equal pictures.

    Masks are opened but not compared.
    """
    shown = _shown(manifest)
    looks = look(manifest.root, shown["path"], at_least=FINGERPRINT_SIDE, progress=progress)
    damaged = {path: f"{path}: {why}" for path, why in looks.damaged.items()}
    compared = shown[(shown["column"] != "mask") & shown["path"].isin(looks.digests)]
    compared = compared.assign(digest=compared["path"].map(looks.digests))
    flat = np.array([looks.fingerprints[digest].flat for digest in compared["digest"]], dtype=bool)
    blank = {path: path for path in compared["path"][flat]}
    return [
        *_defects(shown, "missing-picture", "cannot be found", looks.missing),
        *_defects(shown, "unreadable-picture", "cannot be read", damaged),
        *_defects(compared, "blank-picture", "are of one colour", blank, "warning"),
        *repeated_findings(manifest, compared[~flat], looks.fingerprints),
    ]


def absent_pictures(manifest: Manifest) -> list[Finding]:
    """Pictures that are not there, without opening one."""
    shown = _shown(manifest)
    absent = {path: path for path in shown["path"].unique() if not exists(manifest.root, path)}
    return _defects(shown, "missing-picture", f"cannot be found below {manifest.root}", absent)


def _shown(manifest: Manifest) -> pd.DataFrame:
    """One row for each picture of each case: ``row``, ``column``, ``path``."""
    columns = [column for column in PATHS if column in manifest.table]
    table = manifest.table[columns].rename_axis("row").reset_index()
    return table.melt(id_vars="row", var_name="column", value_name="path").dropna(subset="path")


def _defects(
    shown: pd.DataFrame, rule: str, what: str, defects: dict[str, str], level: Literal["error", "warning"] = "error"
) -> list[Finding]:
    findings = []
    for column, paths in shown[shown["path"].isin(defects)].groupby("column", sort=False)["path"]:
        distinct = paths.unique()
        sentence = (
            f"{len(distinct)} {column} picture(s) {what}, in {len(paths)} case(s); the first: {defects[distinct[0]]}"
        )
        examples = tuple(defects[path] for path in distinct[1:])
        findings.append(Finding(level, rule, str(column), len(distinct), sentence, examples))
    return findings
