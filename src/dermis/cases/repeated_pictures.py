"""One picture under several names: equal bytes, or nearly the same to the eye, in several splits or several groups."""

import numpy as np
import pandas as pd

from dermis.cases.columns import SPLITS
from dermis.cases.finding import Finding
from dermis.cases.manifest import Manifest
from dermis.pictures.hash import Fingerprint, twins


def repeated_findings(manifest: Manifest, shown: pd.DataFrame, fingerprints: dict[str, Fingerprint]) -> list[Finding]:
    """Findings about ``shown``: one line for each picture of each case, with ``row``, ``path`` and ``digest``.

    Across splits, equal pictures are an error and near ones (``pictures.hash.twins``) a warning, because a hash can be
    wrong; across groups of one split both are notes: two lesions do not look the same, so the ids may be incomplete.
    """
    if shown.empty:
        return []
    picture, digests = pd.factorize(shown["digest"])
    split = manifest.table["split"] if "split" in manifest.table else pd.Series(None, index=manifest.table.index)
    places = pd.DataFrame({"picture": picture, "path": shown["path"].to_numpy()})
    places["split"] = split.map(SPLITS.index, na_action="ignore").to_numpy(dtype=float)[shown["row"]]
    places["group"] = pd.factorize(manifest.groups(), sort=True)[0][shown["row"]]
    near = twins([fingerprints[digest] for digest in digests])
    equal = np.repeat(np.arange(len(digests))[:, None], 2, axis=1)
    return [
        *_findings(places, equal, "equal-pictures", "picture(s) occur, byte for byte,", "error"),
        *_findings(places, near, "near-pictures", "pair(s) of pictures look the same", "warning"),
    ]


def _findings(places: pd.DataFrame, pairs: np.ndarray, rule: str, what: str, level: str) -> list[Finding]:
    torn, apart = _spans(places, "split", pairs), _spans(places, "group", pairs)
    findings = []
    for chosen, where, by, level_ in (
        (torn, "in more than one split", "split", level),
        (apart & ~torn, "in more than one group", "group", "note"),
    ):
        if count := int(chosen.sum()):
            examples = tuple(_example(places, pair, by) for pair in pairs[chosen][:4])
            sentence = f"{count} {what} {where}, for example {examples[0]}."
            findings.append(Finding(level_, f"{rule}-across-{by}s", "image", count, sentence, examples[1:]))
    return findings


def _spans(places: pd.DataFrame, column: str, pairs: np.ndarray) -> np.ndarray:
    """(P,) bool: do the places of each pair of pictures have more than one value of ``column``?"""
    least, most = (getattr(places.groupby("picture")[column], which)().to_numpy() for which in ("min", "max"))
    return np.fmin(*least[pairs.T]) < np.fmax(*most[pairs.T])


def _example(places: pd.DataFrame, pair: np.ndarray, by: str) -> str:
    ends = places[places["picture"].isin(pair)].sort_values(by, kind="stable").iloc[[0, -1]]
    names = [f" ({SPLITS[int(value)]})" if by == "split" else "" for value in ends[by]]
    return " and ".join(f"{path}{name}" for path, name in zip(ends["path"], names, strict=True))
