"""M2CG's tables beside a tiny model that is fine-tuned by their protocols, cut short: folds, seeds, deviations."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermis.cases.manifest import Manifest
from dermis.evaluation import comparison
from dermis.evaluation.comparison import compare
from dermis.evaluation.comparison_markdown import markdown
from dermis.evaluation.published import published_table, settings_of
from dermis.towers.build import ImageTowerConfig, build_image_tower


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures 0.png to 59.png."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(60):
        Image.fromarray(rng.integers(0, 255, size=(40, 40, 3), dtype=np.uint8)).save(root / f"{i}.png")
    return root


def pox(root, originals=10):
    """Originals of two classes, each with two copies."""
    rows = [
        {"case_id": f"{i}-{copy}" if copy else f"{i}", "origin_id": f"{i}", "image": f"{3 * i + copy}.png"}
        for i in range(originals)
        for copy in range(3)
    ]
    table = pd.DataFrame(rows)
    table["diagnosis"] = np.where(table["origin_id"].astype(int) % 2, "monkeypox", "others")
    return Manifest.build(table, root)


def atlas(root, classes=5):
    table = pd.DataFrame({"case_id": [f"c{i}" for i in range(60)], "image": [f"{i}.png" for i in range(60)]})
    table["diagnosis"] = [f"disease {i % classes}" for i in range(60)]
    table["split"] = ["train"] * 30 + ["valid"] * 15 + ["test"] * 15
    return Manifest.build(table, root)


@pytest.fixture(autouse=True)
def two_epochs(monkeypatch):
    def short(*args, **options):
        config = settings_of(*args, **options)
        loop = replace(config.finetune.training, epochs=2, batch_size=8, workers=0)
        return replace(config, finetune=replace(config.finetune, seeds=config.finetune.seeds[:2], training=loop))

    monkeypatch.setattr(comparison, "settings_of", short)


def beside(name, sets, tmp_path):
    model = build_image_tower(ImageTowerConfig(name="test_vit", size=32))
    ready = {name: lambda part=part: part for name, part in sets.items()}
    return compare(model, published_table(name), ready, n_boot=5, seed=4, name="ours", runs=tmp_path / "runs")


def test_folds_score_originals_by_several_seeds_and_print_per_cent_with_deviations(folder, tmp_path):
    found = beside("m2cg-1", {"msld": pox(folder)}, tmp_path)
    accuracy, precision, recall, f1 = (cell.entry for cell in found.cells[:4])
    assert [e.metric for e in (precision, recall, f1)] == [f"positive {m}" for m in ("precision", "recall", "F1")]
    assert {e.n for e in (accuracy, precision, recall, f1)} == {10}  # without the copies
    runs = sorted(path.parent for path in (tmp_path / "runs/msld-m2cg-folds").glob("*/seed-*/fold-*/best.json"))
    assert [(run.parent.name, run.name) for run in runs] == [
        (f"seed-{s}", f"fold-{f}") for s in (4, 5) for f in range(5)
    ]
    page = markdown(found)
    cell = f"{100 * accuracy.value:.2f} ± {100 * accuracy.deviation:.2f} [{100 * accuracy.low:.2f}, "
    assert f"| **ours** | {cell}" in page
    assert "| M2CG | 93.33 ± 0.42 | 92.08 ± 0.69 | 93.00 ± 1.25 | 92.54 ± 0.52 | 85.82 ± 0.32 |" in page
    assert "| ConVIRT ‡ | 82.22 ± 0.12 |" in page
    assert "- ‡ ConVIRT: to be doubted: " in page
    assert "- MSLD's figures fit five tests" in page
    assert r"- \* MSLD: measured on 10 cases, published on 228: not comparable." in page
    assert "- MSID (msid.parquet): missing: dermis import msid" in page
    assert "standard deviation over seeds" in page
    assert page.count("also: balanced accuracy") == 1  # neither is in the table
    column = json.loads(found.json())["columns"][0]
    assert column["ours"]["deviation"] == accuracy.deviation
    assert (column["published"]["M2CG"], column["published_deviation"]["M2CG"]) == (0.9333, 0.0042)
    (report,) = found.reports.values()
    assert "The positive class is monkeypox." in report.notes


def test_a_set_of_ones_own_in_place_of_the_private_one_is_called_so(folder, tmp_path):
    own = atlas(folder)
    table = published_table("m2cg-3")
    found = beside("m2cg-3", {"skin64": own}, tmp_path)
    metrics = ["accuracy", "accuracy@3", "macro precision", "balanced accuracy", "macro F1"]
    assert [cell.entry.metric for cell in found.cells] == metrics
    assert not any(cell.comparable for cell in found.cells)
    same_size = replace(found.cells[0], column=replace(table.columns[0], n=15))
    assert not same_size.comparable
    page = markdown(found)
    assert page.count(r"- \* Skin64 is private: measured on another set, of 15 cases: not comparable.") == 1
    assert "| without MMC | 60.12 | 81.30 | 53.54 | 50.50 | 50.52 |" in page
    assert "- Without MMC accuracy lies below SimCLR's" in page
    missing = markdown(beside("m2cg-3", {}, tmp_path))
    assert "Skin64 (skin64.parquet): missing: it is private" in missing


def test_the_split_protocol_tests_once_with_the_epoch_chosen_on_valid(folder, tmp_path):
    found = beside("m2cg-2", {"dermnet23": atlas(folder, classes=3)}, tmp_path)
    (report,) = found.reports.values()
    assert {e.protocol for e in report.entries} == {"fine-tuning"}
    assert "macro AUROC on valid was kept" in report.sections[0].about
    assert "augmentation m2cg" in report.sections[0].about
    assert found.cells[1].why == "cannot be measured: too few classes for accuracy@3."
    assert {e.metric for cell in found.cells for e in cell.beside} == {"macro AUROC"}  # what the table lacks
    assert [cell.entry is None for cell in found.cells] == [False, True, False, False, False, *[True] * 5]
