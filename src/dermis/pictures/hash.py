"""Which pictures are (almost) the same: a 64-bit perceptual hash, and beside it the fine detail that confirms a match.

The hash is the DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010): grey,
32 × 32, the 8 × 8 lowest frequencies of the two-dimensional DCT-II, one bit each for "above their median". It survives
another size, another JPEG quality and a change of brightness or contrast; it does not survive a crop, or a rotation by
anything but quarter turns. Quarter turns and flips only change signs and places of the frequencies, so the hashes of
all eight orientations come out of one DCT.

Low frequencies see "a dark blob in the middle", which is what dermoscopy looks like: in HAM10000, 10,284 pairs of
pictures of different lesions are within 6 bits in some orientation. ``twins`` therefore asks, of each pair that the
hash finds, whether what is left of the 32 × 32 picture without its low frequencies correlates; that leaves 1 pair.

Differs from the paper: no 7 × 7 mean filter before shrinking, because averaging over areas is that filter.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np

SIDE, KEPT = 32, 8
FLAT = 2.0  # standard deviation in grey levels; below, a hash would be that of noise
BLUR = 1.5  # pixels of 32; what the blur keeps is not detail
CLIP = 3.0  # standard deviations of detail that fit into an int8
CHUNK = 4096  # pairs confirmed at a time
_COSINES = np.cos(np.pi / SIDE * np.outer(np.arange(KEPT), np.arange(SIDE) + 0.5)).astype(np.float32)
_SIGNS = (-1.0) ** np.arange(KEPT, dtype=np.float32)


class Fingerprint(NamedTuple):
    """What is remembered of a picture: about 1 kB."""

    hashes: np.ndarray
    """(8,) uint64: the hash of the picture as it stands, then of its seven flips and quarter turns"""
    detail: np.ndarray
    """(32, 32) int8: the small grey picture without its low frequencies"""
    flat: bool
    """one colour, give or take: then the rest says nothing"""


def fingerprint(picture: np.ndarray) -> Fingerprint:
    """Hashes and detail of a uint8 RGB picture (H, W, 3) of any size."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    low = _COSINES @ grey @ _COSINES.T
    # mirroring negates the odd frequencies of its axis
    turned = [side * v * h for side in (low, low.T) for v in (1.0, _SIGNS[:, None]) for h in (1.0, _SIGNS)]
    detail = grey - cv2.GaussianBlur(grey, (0, 0), BLUR, borderType=cv2.BORDER_REFLECT)
    detail = np.clip(detail / (detail.std() + 1e-3), -CLIP, CLIP) * (127 / CLIP)
    hashes = np.array([_bits(frequencies) for frequencies in turned], dtype=np.uint64)
    return Fingerprint(hashes, np.rint(detail).astype(np.int8), float(grey.std()) < FLAT)


def perceptual_hash(picture: np.ndarray) -> int:
    """64-bit hash of a uint8 RGB picture (H, W, 3) as it stands; the highest bit is the lowest frequency."""
    return int(fingerprint(picture).hashes[0])


def near_duplicates(hashes: np.ndarray, distance: int) -> np.ndarray:
    """All pairs (P, 2) of positions i < j whose hashes differ in at most ``distance`` bits, sorted.

    ``hashes`` is (N,) uint64, or (N, 8) of ``Fingerprint.hashes``: then some orientation of one has to be near the
    other as it stands. Exact: where at most ``distance`` bits differ, two of distance + 2 bands of bits agree, so only
    pairs that agree in two bands are compared (Manku et al., WWW 2007). P grows with the square of the number of equal
    hashes: give distinct pictures. Raises ValueError for a distance outside 0 to 16.
    """
    if not 0 <= distance <= 16:
        raise ValueError(f"distance {distance!r} must lie in 0 to 16 bits: beyond, hashes agree by chance.")
    hashes = np.asarray(hashes, dtype=np.uint64)
    columns = np.atleast_2d(hashes.T)
    found = [np.empty((0, 2), dtype=np.int64)]
    for mask in _masks(distance):
        order = np.argsort(columns[0] & mask)
        found += [_near(columns[0], order, column, mask, distance) for column in columns]
    pairs = np.sort(np.concatenate(found), axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def twins(prints: Sequence[Fingerprint], distance: int = 6, likeness: float = 0.9) -> np.ndarray:
    """Pairs (P, 2) of positions i < j, sorted: hashes near, and detail that correlates in the orientation they found.

    A flat picture is nobody's twin. With the defaults, of 300 pictures of HAM10000 re-encoded at JPEG quality 50 or
    resized by half or two, at least 297 find their original.
    """
    seen = [(at, print_) for at, print_ in enumerate(prints) if not print_.flat]
    if not seen:
        return np.empty((0, 2), dtype=np.int64)
    hashes, details = np.stack([p.hashes for _, p in seen]), np.stack([p.detail for _, p in seen])
    pairs = near_duplicates(hashes, distance)
    alike = [_alike(hashes, details, pairs[at : at + CHUNK], distance, likeness) for at in range(0, len(pairs), CHUNK)]
    pairs = pairs[np.concatenate(alike)] if alike else pairs
    return np.array([at for at, _ in seen])[pairs]


def _bits(frequencies: np.ndarray) -> int:
    above = frequencies > np.median(frequencies)
    return int.from_bytes(np.packbits(above).tobytes(), "big")


def _masks(distance: int) -> list[np.uint64]:
    """Every two of distance + 2 bands of the 64 bits."""
    bands = np.array_split(np.uint64(1) << np.arange(64, dtype=np.uint64), distance + 2)
    values = [np.bitwise_or.reduce(band) for band in bands]
    return [a | b for a, b in combinations(values, 2)]


def _near(hashes: np.ndarray, order: np.ndarray, others: np.ndarray, mask: np.uint64, distance: int) -> np.ndarray:
    """(P, 2) pairs (i of ``hashes``, j of ``others``) that agree under ``mask`` and differ in at most ``distance``."""
    keys, wanted = (hashes & mask)[order], others & mask
    at, end = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    pairs = [np.empty((0, 2), dtype=np.int64)]
    left = np.flatnonzero(at < end)  # of `others`, those that have candidates left
    while len(left):
        candidate = order[at[left]]
        near = np.bitwise_count(hashes[candidate] ^ others[left]) <= distance
        pairs.append(np.stack([candidate[near], left[near]], axis=1))
        at[left] += 1
        left = left[at[left] < end[left]]
    return np.concatenate(pairs)


def _alike(hashes: np.ndarray, details: np.ndarray, pairs: np.ndarray, distance: int, likeness: float) -> np.ndarray:
    """(P,) bool: does the detail of a pair correlate in an orientation in which the hashes are near?"""
    alike = np.zeros(len(pairs), dtype=bool)
    for first, second in (pairs.T, pairs.T[::-1]):
        for orientation in range(hashes.shape[1]):
            near = np.bitwise_count(hashes[first, 0] ^ hashes[second, orientation]) <= distance
            a = _unit(details[first[near]])
            b = _unit(_turned(details[second[near]], orientation))
            alike[near] |= (a * b).sum(axis=(1, 2)) >= likeness
    return alike


def _turned(details: np.ndarray, orientation: int) -> np.ndarray:
    """``details`` (N, 32, 32) in the orientation that has this number among ``Fingerprint.hashes``."""
    transposed, upside_down, mirrored = orientation & 4, orientation & 2, orientation & 1
    details = details.transpose(0, 2, 1) if transposed else details
    details = details[:, ::-1] if upside_down else details
    return details[:, :, ::-1] if mirrored else details


def _unit(details: np.ndarray) -> np.ndarray:
    details = details.astype(np.float32)
    return details / (np.linalg.norm(details, axis=(1, 2), keepdims=True) + 1e-6)
