"""`dermis extrapolate` from pictures on disk to a manifest with its gaps filled, and what it says about the copies."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermis.cases.manifest import Manifest
from dermis.cli import main
from dermis.model import load, save
from dermis.model.embed import embed_cases
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches


@pytest.fixture
def folder(tmp_path):
    """A model, a reference of 12 cases (8 of them for training) and 5 cases to complete; q0 shows r0's picture."""
    rng = np.random.default_rng(0)
    for i in range(16):
        picture = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        picture.resize((48, 48), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
    reference = pd.DataFrame(
        {
            "case_id": [f"r{i}" for i in range(12)],
            "image": [f"{i}.png" for i in range(12)],
            "patient_id": [f"p{i // 2}" for i in range(12)],
            "split": ["train"] * 8 + ["test"] * 4,
            "lesion.site": ["arm", "leg", "back", "head"] * 3,
            "patient.age": np.arange(12) * 5.0,
        }
    )
    cases = pd.DataFrame(
        {
            "case_id": [f"q{i}" for i in range(5)],
            "image": ["0.png", "12.png", "13.png", "14.png", "15.png"],
            "patient.age": [None, 31.0, None, None, 62.0],
            "diagnosis": "nevus",
        }
    )
    Manifest.build(reference, tmp_path).write(tmp_path / "reference.parquet")
    Manifest.build(cases, tmp_path).write(tmp_path / "cases.parquet")
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), paired=False), seed=3)
    save(tmp_path / "model", model)
    return tmp_path


def run(folder, *options, status=0):
    paths = [
        "model",
        "cases.parquet",
        "--reference",
        "reference.parquet",
        "--out",
        "filled.parquet",
        "--cache",
        "cache",
    ]
    with pytest.raises(SystemExit) as end:
        main(["extrapolate", *(str(folder / p) if not p.startswith("--") else p for p in paths), *options])
    assert end.value.code == status


def nearest(folder, allowed):
    """By hand: the most similar allowed reference case of each case."""
    model, found = load(folder / "model"), []
    q, r = (embed_cases(model, Manifest.read(folder / f"{name}.parquet"))[0] for name in ("cases", "reference"))
    for n, x in enumerate(q):
        score = {m: x @ r[m] / np.linalg.norm(x) / np.linalg.norm(r[m]) for m in range(12) if allowed(n, m)}
        found.append((f"r{max(score, key=score.get)}", max(score.values())))
    return found


def test_gaps_are_filled_from_training_cases_that_are_no_kin(folder, capsys):
    run(folder)
    expected = nearest(folder, lambda n, m: m < 8 and not (n == 0 and m < 2))  # r1 is r0's patient
    sources = pd.read_csv(folder / "filled.sources.csv")
    assert list(sources) == ["case_id", "rank", "source_id", "similarity"]
    assert sources["source_id"].tolist() == [m for m, _ in expected]
    np.testing.assert_allclose(sources["similarity"], [c for _, c in expected], atol=1e-6)
    own = Manifest.read(folder / "cases.parquet").table
    filled = Manifest.read(folder / "filled.parquet")
    reference = Manifest.read(folder / "reference.parquet").table.set_index("case_id")
    taken = reference.loc[[m for m, _ in expected]].reset_index()
    assert filled.table["lesion.site"].tolist() == taken["lesion.site"].tolist()
    assert filled.table["patient.age"].tolist() == own["patient.age"].fillna(taken["patient.age"]).tolist()
    assert filled.root.samefile(folder)
    said = capsys.readouterr().out
    error = np.abs(own["patient.age"] - taken["patient.age"]).mean()
    assert f"patient.age: mean absolute error {error:.3f}" in said or f"mean absolute error {error:.1f}" in said
    assert "2 columns from 8 reference cases" in said
    copies = pd.read_csv(folder / "filled.copies.csv")
    assert copies["patient.age: copied"].tolist() == taken["patient.age"].tolist()


def test_options_do_what_they_say(folder, capsys):
    run(folder, "--no-pictures", "--columns", "patient.age", "--overwrite")
    expected = nearest(folder, lambda n, m: m < 8)
    assert expected[0][0] == "r0"
    assert pd.read_csv(folder / "filled.sources.csv")["source_id"].tolist() == [m for m, _ in expected]
    filled = Manifest.read(folder / "filled.parquet").table
    assert "lesion.site" not in filled
    assert filled["patient.age"].tolist() == [5.0 * int(m[1:]) for m, _ in expected]
    run(folder, "--k", "3", "--weighting", "similarity")
    assert pd.read_csv(folder / "filled.sources.csv")["rank"].tolist() == [1, 2, 3] * 5
    run(folder, "--near-duplicate", "0.01")
    assert "5 of 5 cases have no source" in capsys.readouterr().out


def test_without_truth_there_is_nothing_to_compare(folder, capsys):
    run(folder, "--columns", "lesion.site")
    assert "no true value in the manifest" in capsys.readouterr().out
    assert not (folder / "filled.copies.csv").exists()


def test_what_is_read_is_not_overwritten(folder, capsys):
    run(folder, "--out", str(folder / "cases.parquet"), status=2)
    assert "is also read" in capsys.readouterr().err
    run(folder, "--out", str(folder / "filled.json"), status=2)
    assert "is not named like one" in capsys.readouterr().err
    run(folder, "--near-duplicate", "1.1", status=2)
    assert "above 0 and at most 1" in capsys.readouterr().err
    run(folder, "--columns", "patient.agee", status=2)
    assert "Did you mean 'patient.age'" in capsys.readouterr().err
