"""Rules about pictures, on what one look at each has seen: broken, blank, repeated, no skin, several panels.

A case is judged by its `image`. ``rows``: the manifest's column `image`; results: position -> sentence.
"""

import pandas as pd

from dermis.cases.corpus.look import Looks
from dermis.pictures.hash import twins


def unreadable(images: pd.Series, looks: Looks) -> pd.Series:
    """Pictures that are missing or cannot be decoded."""
    broken = looks.missing | looks.damaged
    return _sentences({row: broken[path] for row, path in enumerate(images) if path in broken})


def blank(images: pd.Series, looks: Looks) -> pd.Series:
    """Pictures of one colour, give or take."""
    return _sentences(
        {row: "the picture is of one colour" for row, d in _seen(images, looks) if looks.fingerprints[d].flat}
    )


def equal_pictures(images: pd.Series, case_ids: pd.Series, looks: Looks) -> pd.Series:
    """Files that are, byte for byte, an earlier row's."""
    first: dict[str, int] = {}
    found = {}
    for row, digest in _seen(images, looks):
        if first.setdefault(digest, row) != row:
            found[row] = f"the picture is, byte for byte, that of case {case_ids.iloc[first[digest]]}"
    return _sentences(found)


def near_pictures(images: pd.Series, case_ids: pd.Series, looks: Looks) -> pd.Series:
    """Pictures that look the same (``pictures.hash.twins``) as an earlier row's that is not itself objected to.

    Of a chain a - b - c in which a and c are no twins, b goes and c stays.
    """
    first: dict[str, int] = {}
    for row, digest in _seen(images, looks):
        first.setdefault(digest, row)
    digests = list(first)  # in the order of their rows
    like: dict[str, str] = {}
    for earlier, later in twins([looks.fingerprints[digest] for digest in digests]):
        if digests[earlier] not in like:
            like.setdefault(digests[later], digests[earlier])
    return _sentences(
        {
            row: f"the picture looks the same as that of case {case_ids.iloc[first[like[digest]]]}"
            for row, digest in _seen(images, looks)
            if digest in like
        }
    )


def not_skin(images: pd.Series, looks: Looks, least: float) -> pd.Series:
    """Pictures that the classifier gives a probability of skin below ``least``."""
    return _sentences(
        {
            row: f"the picture shows skin with probability {looks.skin[digest]:.2f}"
            for row, digest in _seen(images, looks)
            if looks.skin[digest] < least
        }
    )


def panels(images: pd.Series, looks: Looks) -> pd.Series:
    """Pictures with separator lines (``corpus/panels.py``)."""
    return _sentences(
        {
            row: f"{looks.lines[digest]} line(s) of one colour cross the picture: a figure of several panels?"
            for row, digest in _seen(images, looks)
            if looks.lines[digest]
        }
    )


def twin_pictures(digests: list[str], others: list[str], looks: Looks, other_looks: Looks) -> dict[str, str]:
    """Digest -> the first digest of ``others`` that looks the same."""
    prints = [looks.fingerprints[d] for d in digests] + [other_looks.fingerprints[d] for d in others]
    found: dict[str, str] = {}
    for a, b in twins(prints):
        if a < len(digests) <= b:
            found.setdefault(digests[a], others[b - len(digests)])
    return found


def _seen(images: pd.Series, looks: Looks) -> list[tuple[int, str]]:
    """(position, digest) of the rows whose picture could be opened."""
    return [(row, looks.digests[path]) for row, path in enumerate(images) if path in looks.digests]


def _sentences(found: dict[int, str]) -> pd.Series:
    return pd.Series(found, dtype=object)
