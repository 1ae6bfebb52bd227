"""One pass over the pictures of a manifest: which are missing, unreadable or blank, and what the others look like."""

import hashlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import pandas as pd

from dermis.cases.columns import PATHS
from dermis.cases.finding import Finding
from dermis.cases.manifest import Manifest
from dermis.cases.repeated_pictures import repeated_findings
from dermis.pictures import PictureError
from dermis.pictures.decode import decode
from dermis.pictures.hash import Fingerprint, fingerprint
from dermis.pictures.store import exists, read_bytes

DECODED_SIDE = (
    64  # pixels of the shorter side that the fingerprint's 32 × 32 is made of; more changes no bit that counts
)


class Seen(NamedTuple):
    """What one pass leaves behind: a sentence for each bad path, and what equal and similar pictures are found by."""

    missing: dict[str, str]
    unreadable: dict[str, str]
    digests: dict[str, str]
    """path -> digest of the bytes"""
    fingerprints: dict[str, Fingerprint]
    """digest -> what the picture looks like"""


def picture_findings(manifest: Manifest, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
    """Opens each picture once: missing, unreadable, of one colour; equal and nearly equal pictures.

    Masks are opened but not compared.
    """
    shown = _shown(manifest)
    seen = _look(manifest, shown, progress)
    blank = {path: path for path, digest in seen.digests.items() if seen.fingerprints[digest].flat}
    compared = shown[shown["path"].isin(seen.digests) & ~shown["path"].isin(blank)]
    return [
        *_defects(shown, "missing-picture", "cannot be found", seen.missing),
        *_defects(shown, "unreadable-picture", "cannot be read", seen.unreadable),
        *_defects(shown, "blank-picture", "are of one colour", blank, "warning"),
        *repeated_findings(manifest, compared.assign(digest=compared["path"].map(seen.digests)), seen.fingerprints),
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


def _look(manifest: Manifest, shown: pd.DataFrame, progress: Callable[[int, int], None] | None) -> Seen:
    seen = Seen({}, {}, {}, {})
    compared = set(shown["path"][shown["column"] != "mask"])
    paths = shown["path"].unique()
    for done, path in enumerate(paths, 1):
        try:
            data = read_bytes(manifest.root, path)
        except PictureError as error:
            seen.missing[path] = str(error)
        else:
            try:
                _remember(seen, path, data, path in compared)
            except PictureError as error:
                seen.unreadable[path] = f"{path}: {error}"
        if progress is not None:
            progress(done, len(paths))
    return seen


def _remember(seen: Seen, path: str, data: bytes, compared: bool) -> None:
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    if not (compared and digest in seen.fingerprints):
        picture = decode(data, at_least=DECODED_SIDE)
        if compared:
            seen.fingerprints[digest] = fingerprint(picture)
    if compared:
        seen.digests[path] = digest


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
