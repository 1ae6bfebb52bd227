"""The perceptual hash: against scipy's DCT, across encodings and orientations; the pair search against all pairs."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn

from dermis.pictures.hash import Fingerprint, fingerprint, near_duplicates, perceptual_hash, twins


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Forty smooth random pictures with some fine structure, 150 × 200."""
    rng = np.random.default_rng(0)
    coarse = [cv2.resize(rng.normal(size=(6, 8, 3)), (200, 150), interpolation=cv2.INTER_CUBIC) for _ in range(40)]
    fine = [cv2.resize(rng.normal(size=(30, 40, 3)), (200, 150), interpolation=cv2.INTER_CUBIC) for _ in range(40)]
    return [np.clip(128 + 40 * c + 15 * f, 0, 255).astype(np.uint8) for c, f in zip(coarse, fine, strict=True)]


def bits_apart(a: int, b: int) -> int:
    return (int(a) ^ int(b)).bit_count()


def encoded(picture: np.ndarray, quality: int, scale: float) -> np.ndarray:
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=way)
    done, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def orientations(picture: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(np.rot90(p, k)) for p in (picture, picture[:, ::-1]) for k in range(4)]


def test_equals_the_definition_with_scipys_dct(pictures):
    for picture in pictures[:5]:
        grey = cv2.resize(
            cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64), (32, 32), interpolation=cv2.INTER_AREA
        )
        low = dctn(grey, type=2)[:8, :8]
        expected = "".join("1" if value > np.median(low) else "0" for value in low.ravel())
        assert perceptual_hash(picture) == int(expected, 2)


@pytest.mark.parametrize(("quality", "scale"), [(90, 1), (50, 1), (75, 0.5), (75, 2)])
def test_another_encoding_or_size_changes_few_bits(pictures, quality, scale):
    changed = [bits_apart(perceptual_hash(p), perceptual_hash(encoded(p, quality, scale))) for p in pictures]
    assert max(changed) <= 4


def test_brightness_and_contrast_change_few_bits(pictures):
    changed = [bits_apart(perceptual_hash(p), perceptual_hash((p * 0.7 + 20).astype(np.uint8))) for p in pictures]
    assert max(changed) <= 4


def test_unrelated_pictures_are_about_32_bits_apart(pictures):
    hashes = [perceptual_hash(p) for p in pictures]
    apart = [bits_apart(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert 28 < np.mean(apart) < 36
    assert min(apart) > 8


def test_the_eight_hashes_are_those_of_the_turned_and_mirrored_pictures(pictures):
    for picture in pictures[:10]:
        hashes = fingerprint(picture).hashes
        turned = [perceptual_hash(p) for p in orientations(picture)]
        assert len(set(turned)) == 8
        assert all(min(bits_apart(h, t) for h in hashes) <= 2 for t in turned)
        assert bits_apart(hashes[0], turned[0]) == 0


def test_twins_finds_every_reencoded_turned_copy_and_nothing_else(pictures):
    copies = [encoded(orientations(p)[i % 8], 75, 0.6) for i, p in enumerate(pictures)]
    prints = [fingerprint(p) for p in [*pictures, *copies]]
    assert twins(prints).tolist() == [[i, i + len(pictures)] for i in range(len(pictures))]


def test_equal_coarse_structure_with_other_detail_is_no_twin():
    rng = np.random.default_rng(1)
    coarse = cv2.resize(rng.normal(size=(6, 8)), (200, 150), interpolation=cv2.INTER_CUBIC)
    noise = [cv2.resize(rng.normal(size=(38, 50)), (200, 150), interpolation=cv2.INTER_CUBIC) for _ in range(2)]
    greys = [np.clip(128 + 40 * coarse + 20 * n, 0, 255).astype(np.uint8) for n in noise]
    lesions = [np.repeat(grey[..., None], 3, axis=2) for grey in greys]
    prints = [fingerprint(p) for p in lesions]
    assert len(near_duplicates(np.stack([p.hashes for p in prints]), 16)) == 1
    assert len(twins(prints, distance=16)) == 0


def test_a_picture_of_one_colour_is_flat_and_nobodys_twin(pictures):
    blank, lesion = fingerprint(np.full((20, 30, 3), 7, np.uint8)), fingerprint(pictures[0])
    assert blank.flat
    assert not lesion.flat
    assert twins([blank, lesion, blank, lesion]).tolist() == [[1, 3]]
    assert twins([blank, blank]).shape == (0, 2)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.sampled_from([1, 8]))
def test_the_pairs_are_those_of_comparing_all_with_all(seed, distance, orientations_):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, size=(60, orientations_), dtype=np.uint64)
    for i in range(20, 60):  # near copies of the first twenty, some of them equal
        flips = rng.integers(0, 64, size=rng.integers(0, 12)).astype(np.uint64)
        hashes[i, rng.integers(orientations_)] = hashes[rng.integers(20), 0] ^ np.bitwise_xor.reduce(
            np.uint64(1) << flips, initial=np.uint64(0)
        )
    expected = [
        [i, j]
        for i in range(60)
        for j in range(i + 1, 60)
        if min(min(bits_apart(hashes[i, 0], h) for h in hashes[j]), min(bits_apart(hashes[j, 0], h) for h in hashes[i]))
        <= distance
    ]
    assert near_duplicates(hashes if orientations_ > 1 else hashes[:, 0], distance).tolist() == expected
    # every pair was near in some orientation, so with nothing asked of the detail all are twins
    prints = [Fingerprint(row, np.zeros((32, 32), np.int8), flat=False) for row in hashes]
    assert twins(prints, distance, likeness=-1).tolist() == expected


@pytest.mark.parametrize("count", [0, 1])
def test_no_pairs_without_two_pictures(count):
    assert near_duplicates(np.zeros(count, np.uint64), 4).shape == (0, 2)
    prints = [Fingerprint(np.zeros(8, np.uint64), np.zeros((32, 32), np.int8), flat=False)] * count
    assert twins(prints).shape == (0, 2)


def test_a_distance_that_finds_chance_is_refused():
    with pytest.raises(ValueError, match="distance 17 must lie in 0 to 16"):
        near_duplicates(np.zeros(3, np.uint64), 17)


@pytest.mark.data
def test_ham10000_copies_are_found_and_lesions_are_told_apart(shared_data):
    from dermis.pictures.decode import decode
    from dermis.pictures.store import members, read_bytes

    root = shared_data / "ham10000_200x150"
    names = [n for n in members(root / "images.zip") if n.endswith(".jpg")][:3000:10]
    originals = [decode(read_bytes(root, f"images.zip!/{name}")) for name in names]
    small = [fingerprint(p) for p in originals]
    for quality, scale in ((50, 1), (75, 0.5), (75, 2)):
        copies = [fingerprint(encoded(p, quality, scale)) for p in originals]
        pairs = twins([*small, *copies])
        found = pairs[(pairs[:, 0] < 300) & (pairs[:, 1] >= 300)]
        own = found[:, 0] == found[:, 1] - 300
        assert own.sum() >= 297
        assert (~own).sum() <= 4  # photographs of one lesion
