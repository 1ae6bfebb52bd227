"""Captions that say nearly the same: MinHash of word shingles, bands to find candidates, the sets themselves to decide.

Broder, "On the resemblance and containment of documents" (1997); bands after Leskovec, Rajaraman & Ullman, "Mining of
Massive Datasets", ch. 3. Two captions of resemblance s become candidates with probability 1 - (1 - s^5)^24: 0.9999 at
0.8. Candidates are compared exactly, so nothing is found that is not there.
"""

from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import pandas as pd

from dermis.cases.corpus.captions import WORD

WORDS = 3  # of a shingle
BANDS, ROWS = 24, 5
SHORTEST = 8
"""words; shorter captions ("plaque psoriasis on the elbow") repeat without being copies"""
BUCKET = 8
"""captions remembered for each value of a band; more, and captions from one template would be compared all with all"""


class Match(NamedTuple):
    """A row's caption, the row whose caption it resembles most, and how much."""

    row: int
    other: int
    resemblance: float


def near_captions(captions: pd.Series, likeness: float, among: pd.Series | None = None) -> list[Match]:
    """Rows whose caption resembles an earlier row's, or one of ``among``, by at least ``likeness``.

    Resemblance: shared three-word shingles / all shingles of both (Jaccard), in lower case without punctuation; a
    character of Chinese or Japanese is a word. Captions of fewer than 8 words are left alone. Rows are positions.
    Raises ValueError for a likeness outside (0, 1].
    """
    if not 0 < likeness <= 1:
        raise ValueError(f"likeness {likeness!r} of captions must lie above 0 and at most at 1.")
    seen = _Seen()
    for row, words in enumerate([] if among is None else _words(among)):
        if words is not None:
            seen.add(words, row)
    matches = []
    for row, words in enumerate(_words(captions)):
        if words is None:
            continue
        other, resemblance = seen.nearest(words)
        if resemblance >= likeness:
            matches.append(Match(row, other, resemblance))
        if among is None:
            seen.add(words, row)
    return matches


def repeated_captions(captions: pd.Series, case_ids: pd.Series, likeness: float) -> pd.Series:
    """The rule: position -> sentence."""
    ids = case_ids.to_numpy()
    found = near_captions(captions, likeness)
    sentences = [f"the caption resembles that of case {ids[m.other]} ({m.resemblance:.2f})" for m in found]
    return pd.Series(sentences, index=[match.row for match in found], dtype=object)


class _Seen:
    """Captions seen so far, by the values of their bands."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.factor, self.shift = rng.integers(0, 2**64, (2, BANDS * ROWS), dtype=np.uint64)
        self.factor |= np.uint64(1)
        self.row: dict[tuple[str, ...], int] = {}
        self.shingles: list[tuple[int, np.ndarray]] = []
        self.buckets: dict[tuple[int, bytes], list[int]] = {}
        self.last: tuple[tuple[str, ...], np.ndarray, list[tuple[int, bytes]]] | None = None

    def add(self, words: tuple[str, ...], row: int) -> None:
        if words in self.row:
            return
        self.row[words] = row
        shingles, keys = self._sketch(words)
        for key in keys:
            bucket = self.buckets.setdefault(key, [])
            if len(bucket) < BUCKET:
                bucket.append(len(self.shingles))
        self.shingles.append((row, shingles))

    def nearest(self, words: tuple[str, ...]) -> tuple[int, float]:
        """Row of the most similar caption seen, the first of equals, and its resemblance; (-1, 0) for none."""
        if words in self.row:
            return self.row[words], 1.0
        mine, keys = self._sketch(words)
        best = (-1, 0.0)
        for number in sorted({number for key in keys for number in self.buckets.get(key, ())}):
            row, theirs = self.shingles[number]
            shared = len(np.intersect1d(mine, theirs, assume_unique=True))
            resemblance = shared / (len(mine) + len(theirs) - shared)
            best = max(best, (row, resemblance), key=lambda match: match[1])
        return best

    def _sketch(self, words: tuple[str, ...]) -> tuple[np.ndarray, list[tuple[int, bytes]]]:
        """Hashes of the shingles, and what each band of their MinHash is."""
        if self.last is None or self.last[0] != words:
            joined = {" ".join(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)}
            hashes = [int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") for text in joined]
            shingles = np.array(sorted(hashes), dtype=np.uint64)
            least = (shingles[:, None] * self.factor + self.shift).min(axis=0)  # wraps at 2^64, which is meant
            self.last = words, shingles, [(band, key.tobytes()) for band, key in enumerate(np.split(least, BANDS))]
        return self.last[1], self.last[2]


def _words(captions: pd.Series) -> list[tuple[str, ...] | None]:
    words = [() if pd.isna(text) else tuple(WORD.findall(str(text).casefold())) for text in captions]
    return [text if len(text) >= SHORTEST else None for text in words]
