"""What a decision is fitted on, and what it decides."""

import dataclasses

import numpy as np
import pytest

from dermis.decision import decision as decision_module
from dermis.decision.conformal import nonconformity, threshold
from dermis.decision.decision import fit
from dermis.decision.rules import Rules
from dermis.decision.temperature import fit_temperature, tempered

CLASSES = ["melanoma", "nevus", "wart"]


@pytest.mark.parametrize("score, alpha", [("lac", 0.4), ("aps", 0.1)])
def test_a_judgement_is_its_parts(fitted, cases, score, alpha):
    decision, new = fitted(score=score, alpha=alpha), cases(300, 2)
    judged = decision.judge(new.feature)
    p_NC = tempered(decision.probe.logits(new.feature), decision.temperature)
    assert np.array_equal(judged.probability, p_NC)
    assert np.array_equal(judged.possible, nonconformity(p_NC, score) <= decision.threshold[0])
    sure = [size == 1 and p > 0.05 for size, p in zip(judged.size, judged.ood, strict=True)]
    assert judged.sure.tolist() == sure
    assert 0.1 < judged.sure.mean() < 0.95
    assert (judged.size == 0).any() == (score == "lac")
    two = dataclasses.replace(decision, rules=Rules(score=score, most_classes=2, ood_level=0)).judge(new.feature)
    assert two.sure.tolist() == [size in (1, 2) for size in judged.size]


def test_temperature_thresholds_and_probe_see_different_patients(cases, monkeypatch):
    seen = {}

    def watched(name):
        inner = getattr(decision_module, name)

        def call(values, *rest, **more):
            seen.setdefault(name, []).append(np.asarray(values))
            return inner(values, *rest, **more)

        monkeypatch.setattr(decision_module, name, call)

    for name in ("linear_probe", "fit_temperature", "thresholds", "neighbour_distance"):
        watched(name)
    train, valid = cases(120, 0), cases(120, 1)
    made = fit(train, valid, CLASSES, Rules(), "a-tower")
    assert np.array_equal(seen["linear_probe"][0], train.feature)
    logits = made.probe.logits(valid.feature)
    rows = [np.flatnonzero((logits == row).all(axis=1))[0] for row in seen["fit_temperature"][0]]
    used = [np.flatnonzero((valid.feature == row).all(axis=1))[0] for row in seen["neighbour_distance"][0]]
    score_NC = nonconformity(tempered(logits, made.temperature))
    np.testing.assert_allclose(seen["thresholds"][0], score_NC[used], atol=1e-12)
    for_temperature, for_sets = valid.patient[rows].tolist(), valid.patient[used].tolist()
    assert len(set(for_temperature)) == 40
    assert sorted(for_temperature) == sorted(p for p in valid.patient if p in set(for_temperature))
    assert len(for_sets) == len(set(for_sets)) == made.patients == 80
    assert set(for_temperature) | set(for_sets) == set(valid.patient)
    assert made.temperature == fit_temperature(logits[rows], valid.label[rows])
    own = score_NC[used, valid.label[used]]
    assert made.threshold.tolist() == pytest.approx([threshold(own, 0.1)] * 3)


@pytest.mark.parametrize("rules", [Rules(alpha=0.2), Rules(alpha=0.2, classwise=True)], ids=["marginal", "classwise"])
def test_the_promise_is_kept_for_new_patients_on_average(cases, rules, monkeypatch):
    """25 calibrations of one model, 600 new patients each: the mean coverage of patients, and of each class's."""
    train, found = cases(60, 0), []
    probe = fit(train, cases(90, 1), CLASSES, rules, "a-tower").probe
    monkeypatch.setattr(decision_module, "linear_probe", lambda *given, **settings: probe)
    for seed in range(25):
        decision = fit(train, cases(90, 100 + seed), CLASSES, dataclasses.replace(rules, seed=seed), "a-tower")
        new = cases(600, 500 + seed)
        covered_N = decision.judge(new.feature).possible[np.arange(len(new.label)), new.label]
        counts = np.unique(new.patient, return_inverse=True, return_counts=True)
        weight_N = 1 / counts[2][counts[1]]
        parts = [new.label == c for c in range(3)] if rules.classwise else [slice(None)]
        found.append([np.average(covered_N[part], weights=weight_N[part]) for part in parts])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / 5
    assert (mean >= 0.8 - 3 * error).all()
    if not rules.classwise:
        assert mean[0] <= 0.8 + 1 / 61 + 3 * error[0]


def test_the_seed_decides(fitted):
    one, same, other = fitted(), fitted(), fitted(seed=1)
    assert (one.threshold == same.threshold).all()
    assert (one.distance == same.distance).all()
    assert one.temperature == same.temperature != other.temperature


def test_what_cannot_be_fitted_is_said(cases):
    train, valid = cases(40, 0), cases(60, 1)
    with pytest.raises(ValueError, match="no case of split 'valid' is wart: every class needs cases in both"):
        fit(train, valid.select(valid.label != 2), CLASSES, Rules(), "")
    with pytest.raises(ValueError, match="no case of split 'train' is melanoma or wart"):
        fit(train.select(train.label == 1), valid, CLASSES, Rules(), "")
    with pytest.raises(ValueError, match=r"^40 calibration patients are too few: alpha 0.01 needs at least 99\."):
        fit(train, valid, CLASSES, Rules(alpha=0.01), "")
    rare = valid.select((valid.label != 2) | (valid.patient == valid.patient[valid.label == 2][0]))
    with pytest.raises(ValueError, match=r"need 9 calibration cases of each class; 'wart' has [01]\."):
        fit(train, rare, CLASSES, Rules(classwise=True), "")
    with pytest.raises(ValueError, match=r"^40 .* few: ood_level 0.02 needs at least 49\..* 0.0244, but ood_level may"):
        fit(train, valid, CLASSES, Rules(ood_level=0.02), "")
    with pytest.raises(ValueError, match="most_classes 3 has no effect: there are 3 classes"):
        fit(train, valid, CLASSES, Rules(most_classes=3), "")
    with pytest.raises(ValueError, match=r"must be \(cases, 8\); they are \(2, 5\)"):
        fit(train, valid, CLASSES, Rules(), "").judge(np.zeros((2, 5)))


def test_too_few_patients_are_told_for_all_rules_at_once_with_how_many_would_do(cases):
    train, few = cases(40, 0), cases(11, 1)
    with pytest.raises(ValueError) as error:
        fit(train, few, CLASSES, Rules(), "")
    assert str(error.value) == (
        "7 calibration patients are too few: alpha 0.1 needs at least 9 and ood_level 0.05 needs at least 19. Split "
        "'valid' has 11 patients of the classes, a third of whom set the temperature, and would need 28: deal it more "
        "(`dermis split --valid 0.4`). With 7 no level goes below 0.125, but ood_level may be 0: nothing is too "
        "strange."
    )
    with pytest.raises(ValueError, match=r"alpha 0.1 needs at least 9\. .* would need 13: .* below 0.125\.$"):
        fit(train, few, CLASSES, Rules(ood_level=0), "")
    with pytest.raises(ValueError, match=r"^18 calibration patients are too few: ood_level 0.05 needs at least 19"):
        fit(train, cases(27, 1), CLASSES, Rules(), "")
    assert fit(train, cases(28, 1), CLASSES, Rules(), "").patients == 19
    assert fit(train, few, CLASSES, Rules(alpha=0.125, ood_level=0.125), "").patients == 7


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"alpha": 1.5}, "between 0 and 1"),
        ({"score": "lak"}, "Did you mean 'lac'"),
        ({"most_classes": 0}, "1 or more; it is 0"),
        ({"ood_level": 1.0}, "between 0"),
        ({"neighbours": 0}, "1 or more; it is 0"),
    ],
)
def test_wrong_rules_are_said(changes, said):
    with pytest.raises(ValueError, match=said):
        Rules(**changes)
