"""Coverage, set size and abstention as loops, over everybody, classes and groups."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from dermis.cases.manifest import Manifest
from dermis.decision.measured import measure

SHARED = {"model": "m", "dataset": "d", "split": "test", "seed": 0, "command": ""}


def test_numbers_are_means_over_cases_patients_and_groups(fitted, cases, tmp_path):
    decision, new = fitted(), cases(80, 2)
    n = len(new.label)
    table = pd.DataFrame(
        {
            "case_id": [f"c{i}" for i in range(n)],
            "image": "x.png",
            "patient_id": new.patient,
            "skin_tone": ["6" if i < 12 else "1-2" if i % 3 else None for i in range(n)],
            "patient.age": np.where(np.arange(n) % 2, 35.0, 65.0),
        }
    )
    manifest = Manifest.build(table, tmp_path)
    found = list(
        measure(decision, new.feature, new.label, manifest, SHARED, subgroups=["skin_tone", "patient.age"], n_boot=50)
    )
    value = {(e.metric, e.class_name or e.subgroup): e for e in found}
    judged = decision.judge(new.feature)
    covered_N = np.array([judged.possible[i, y] for i, y in enumerate(new.label)])
    size_N = [int(row.sum()) for row in judged.possible]
    right_N = judged.probability.argmax(axis=1) == new.label
    of_patients = [covered_N[new.patient == p].mean() for p in np.unique(new.patient)]
    assert len(of_patients) < n
    expected = {
        "coverage": covered_N.mean(),
        "coverage of patients": np.mean(of_patients),
        "classes in a set": np.mean(size_N),
        "empty sets": np.mean([s == 0 for s in size_N]),
        "not sure": np.mean(~judged.sure),
        "accuracy": right_N.mean(),
        "accuracy where sure": right_N[judged.sure].mean(),
        "log loss before": log_loss(new.label, decision.probe.scores(new.feature)),
        "log loss after": log_loss(new.label, judged.probability),
    }
    for metric, number in expected.items():
        entry = value[metric, ""]
        assert entry.value == pytest.approx(number)
        assert entry.low <= entry.value <= entry.high
        assert (entry.n, entry.patients) == (n, 80)
    for c, name in enumerate(decision.classes):
        assert value["coverage", name].value == pytest.approx(covered_N[new.label == c].mean())
        assert value["coverage", name].n == (new.label == c).sum()
    ages = {band: covered_N[table["patient.age"] == age] for band, age in (("20-39", 35), ("60-79", 65))}
    for band, of_band in ages.items():
        assert value["coverage", f"patient.age = {band}"].value == pytest.approx(of_band.mean())
    groups = {e.subgroup for e in found if "skin_tone" in e.subgroup}
    assert groups == {"skin_tone = 1-2", "skin_tone = not recorded"}  # of type 6 there are 12, too few to measure
