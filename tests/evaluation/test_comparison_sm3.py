"""A model in SM3's Table I: fine-tuned twice, and by its own heads if it was taught the labels."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dermis.cases.manifest import Manifest
from dermis.cases.synthetic import latent_cases, make_cases
from dermis.cases.synthetic.tables import row
from dermis.cases.targets import targets_of
from dermis.evaluation import comparison
from dermis.evaluation.comparison import compare
from dermis.evaluation.comparison_markdown import markdown
from dermis.evaluation.finetune import protocol_name
from dermis.evaluation.published import published_table, settings_of
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches
from tests.methods.test_sm3 import Pixels


def test_a_model_is_fine_tuned_twice_and_stands_in_both_blocks_of_table_i(tmp_path, monkeypatch):
    def short(*args, **options):
        config = settings_of(*args, **options)
        if config.protocols != ["finetune"]:
            return config
        loop = replace(config.finetune.training, epochs=1, batch_size=16, workers=0)
        return replace(config, finetune=replace(config.finetune, training=loop))

    monkeypatch.setattr(comparison, "settings_of", short)
    cases = make_cases(tmp_path / "cases", patients=40, size=48, seed=0)
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), paired=True), 3)
    table = published_table("sm3-1")
    found = compare(model, table, {"derm7pt": lambda: cases}, n_boot=5, seed=2, name="ours", runs=tmp_path / "runs")
    (why,) = {cell.why for cell in found.cells if cell.entry is None}
    assert "needs a model that was taught labels" in why  # it has no heads of its own
    assert all(cell.entry is None for cell in found.cells[72:])
    assert list(found.reports) == ["derm7pt sm3-linear", "derm7pt sm3-finetune"]
    for how, cells in (("linear", found.cells[:36]), ("finetune", found.cells[36:72])):
        report = found.reports[f"derm7pt sm3-{how}"]
        whole = report.value(cells[0].column.entry, "Sens")
        assert cells[17].entry == whole  # the last of the second line is the average
        assert whole.value == pytest.approx(np.mean([cell.entry.value for cell in cells[9:17]]))
        assert cells[16].entry.class_name == "DIAG melanoma"
        assert len(list((tmp_path / "runs" / f"derm7pt-sm3-{how}").glob("**/seed-2/best.json"))) == 1
        config = settings_of(cells[0].column.data, cells[0].column.protocol)
        assert protocol_name(config.finetune) == cells[0].column.entry
    learned, weights, everything, _ = (
        int(report.sections[0].about.split()[i].replace(",", "")) for report in found.reports.values() for i in (0, 2)
    )
    assert learned < everything / 10
    assert learned < weights / 10
    page = markdown(found)
    assert page.count("| **ours** | AUC |") == 3
    assert "- Derm7pt, sm3-linear, n = " in page
    assert "- Derm7pt, sm3-finetune, n = " in page


def test_a_supervised_model_stands_in_table_i_by_its_own_heads():
    """Beside the supervised methods, and without any training: the numbers are those of what it predicts."""
    rows = [row(c, "x", "synthetic", "test") for c in latent_cases(cases=395, seed=1)]
    cases = Manifest.build(pd.DataFrame(rows), ".")
    columns = [c for c in cases.table if c == "diagnosis" or c.startswith("finding.")]
    model = Branches({"dermoscopy": Pixels(), "image": Pixels()})
    feature_ND = np.random.default_rng(0).normal(size=(395, 12)).astype(np.float32)
    options = {"embed": lambda part: (feature_ND[: len(part)], np.ones(len(part), bool)), "n_boot": 5}
    whole = published_table("sm3-1")
    table = replace(whole, columns=whole.columns[72:])
    for taught, why in ((["diagnosis"], "this model was not taught all of the labels."), (columns, "")):
        model.add("labels", classes=targets_of(cases, taught), relation="no_proj")
        found = compare(model, table, {"derm7pt": lambda: cases}, **options)
        whys = {cell.why.removeprefix("cannot be measured: ") for cell in found.cells}
        assert whys == {why}
    assert all(cell.comparable for cell in found.cells)
    streaks = next(c for c in found.cells if (c.column.metric, c.column.class_name) == ("AUC", "STR irregular"))
    p_NC = model.eval().predict(torch.from_numpy(feature_ND))["finding.streaks"].detach().numpy()
    place = targets_of(cases, columns)["finding.streaks"].index("irregular")
    told = cases.table["finding.streaks"].notna().to_numpy()
    truth = cases.table["finding.streaks"][told] == "irregular"
    assert streaks.entry.value == pytest.approx(roc_auc_score(truth, p_NC[told, place]))
    precision = next(c for c in found.cells if (c.column.metric, c.column.class_name) == ("Prec", ""))
    assert precision.entry.protocol == "own predictions of labels"
