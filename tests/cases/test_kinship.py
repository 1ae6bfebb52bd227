"""Kin of two manifests: a search from case to case as truth; and one picture in two sets, however it was saved."""

import itertools

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermis.cases.kinship import kinship, same_pictures
from dermis.cases.manifest import Manifest

IDS = ("case_id", "patient_id", "lesion_id", "origin_id")


def manifest(name, n, seed, absent=()):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"case_id": [f"{name}{i}" for i in range(n)], "image": "x.jpg"})
    for column in IDS[1:]:
        ids = np.array([f"{column[0]}{i}" for i in rng.integers(40, size=n)], dtype=object)
        ids[rng.random(n) < 0.7] = None
        table[column] = ids
    table.loc[0, ["case_id", "origin_id"]] = ["shared", f"{name} origin"]  # no link but the case itself
    return Manifest.build(table.drop(columns=list(absent)), "/nowhere")


def walked(both, links):
    """(U, U): is there a way from one case to the other, over shared ids and links?"""
    near = np.eye(len(both), dtype=bool)
    for a, b in itertools.product(range(len(both)), repeat=2):
        for column in IDS:
            one, other = (r.get(column) for r in (both[a], both[b]))
            if column == "origin_id":
                one, other = (r.get(column) or r["case_id"] for r in (both[a], both[b]))
            near[a, b] |= one is not None and one == other
    for a, b in links:
        near[a, b] = near[b, a] = True
    for _ in range(len(both)):
        near = near.astype(int) @ near.astype(int) > 0
    return near


@pytest.mark.parametrize("absent", [(), ("patient_id",), IDS[1:]], ids=["all ids", "no patients", "no ids"])
@pytest.mark.parametrize("links", [[], [(2, 17), (5, 29)]], ids=["", "pictures"])
def test_kin_is_who_can_be_reached(absent, links):
    query, reference = manifest("q", 12, 1), manifest("r", 20, 2, absent)
    both = [
        {c: row[c] for c in IDS if c in row and not pd.isna(row[c])}
        for m in (query, reference)
        for row in m.table.to_dict("records")
    ]
    kin_N, kin_M = kinship(query, reference, np.array(links).reshape(-1, 2) if links else None)
    kin_U = np.concatenate([kin_N, kin_M])
    np.testing.assert_array_equal(kin_U[:, None] == kin_U, walked(both, links))
    assert kin_N[0] == kin_M[0]  # the shared case


def textured(seed):
    rng = np.random.default_rng(seed)
    coarse, fine = rng.normal(size=(6, 8, 3)), rng.normal(size=(30, 40, 3))
    layers = [
        np.stack(
            [np.asarray(Image.fromarray(c.astype(np.float32)).resize((400, 300), 3)) for c in x.transpose(2, 0, 1)], 2
        )
        for x in (coarse, fine)
    ]
    return Image.fromarray(np.clip(128 + 40 * layers[0] + 15 * layers[1], 0, 255).astype(np.uint8))


def test_pictures_are_the_same_however_they_were_saved(tmp_path):
    (tmp_path / "q").mkdir()
    (tmp_path / "r").mkdir()
    textured(1).save(tmp_path / "q" / "a.jpg", quality=90)
    textured(2).save(tmp_path / "q" / "b.jpg", quality=90)
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "q" / "blank.jpg")
    (tmp_path / "q" / "broken.jpg").write_text("no picture")
    (tmp_path / "r" / "copy.jpg").write_bytes((tmp_path / "q" / "a.jpg").read_bytes())
    textured(2).resize((200, 150)).save(tmp_path / "r" / "small.jpg", quality=60)
    textured(3).save(tmp_path / "r" / "other.jpg")
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "r" / "blank.jpg")
    query, reference = (
        Manifest.build(
            pd.DataFrame({"case_id": [f"{folder}{i}" for i in range(len(names))], "image": names}), tmp_path / folder
        )
        for folder, names in (
            ("q", ["a.jpg", "b.jpg", "blank.jpg", "broken.jpg", "a.jpg"]),
            ("r", ["other.jpg", "copy.jpg", "small.jpg", "blank.jpg"]),
        )
    )
    steps = []
    pairs = same_pictures(query, reference, progress=lambda *step: steps.append(step))
    kin_N, kin_M = kinship(query, reference, pairs)
    np.testing.assert_array_equal(
        kin_N[:, None] == kin_M,
        [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]],
    )
    assert steps == [(n, 8) for n in range(1, 9)]  # a.jpg is opened once
