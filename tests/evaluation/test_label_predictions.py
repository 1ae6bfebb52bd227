"""Several labels a case, measured on synthetic cases whose labels are known: tables, flags, seeds, pairs."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dermis.cases.manifest import Manifest
from dermis.cases.seven_point import POINTS
from dermis.cases.synthetic import latent_cases
from dermis.cases.synthetic.make import split_of
from dermis.cases.synthetic.tables import row
from dermis.cases.targets import labels_of, targets_of
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.label_metrics import measure_labels
from dermis.evaluation.label_predictions import LabelPredictions
from dermis.evaluation.label_tables import case_table, table_lines
from dermis.evaluation.linear_probe import linear_probe
from dermis.evaluation.subgroups import AT_LEAST
from dermis.evaluation.target_classes import TARGETS
from dermis.towers.branches import Branches
from tests.methods.test_sm3 import Pixels

COLUMNS = [t.column for t in TARGETS]
SHARED = {"model": "m", "dataset": "d", "split": "test", "seed": 0, "command": ""}


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    cases = latent_cases(cases=400, seed=12)
    table = pd.DataFrame([row(c, "x", "synthetic", split_of(c, (0.6, 0.1, 0.3))) for c in cases])
    return Manifest.build(table, ".")


def embed(cases: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Features of both pictures that know the labels a little; dermoscopy first."""
    rng = np.random.default_rng(len(cases))
    label_NL = labels_of(cases, {c: targets_of(cases, [c])[c] for c in COLUMNS})
    known = np.concatenate([label_NL[:, :4] == 1, label_NL[:, 4:] == 1], axis=1).astype(np.float32)
    half = np.concatenate([known[:, :4], rng.normal(size=(len(cases), 2))], axis=1)
    other = np.concatenate([known[:, 4:], half[:, 4:] + 0.1 * rng.normal(size=(len(cases), 2))], axis=1)
    noise = 0.5 * rng.normal(size=(len(cases), 12))
    return (np.concatenate([half, other], axis=1) + noise).astype(np.float32), np.ones(len(cases), bool)


def model(**parts) -> Branches:
    torch.manual_seed(0)
    branches = Branches({"dermoscopy": Pixels(), "image": Pixels()})
    for name, settings in parts.items():
        branches.add(name, **settings)
    return branches


def config(**changes) -> EvaluationConfig:
    return EvaluationConfig(**{"protocols": ["derm7pt"], "n_boot": 30, "subgroups": []} | changes)


def test_probes_on_frozen_features_print_the_table(manifest):
    found = evaluate(model(), manifest, config(), embed=embed)
    overall = {e.metric: e for e in found.entries if e.protocol == "derm7pt, linear probes" and not e.class_name}
    assert {"AUC", "Sens", "Spec", "Prec", "macro AUROC", "balanced accuracy"} <= set(overall)
    assert 0.6 < overall["AUC"].value < 1
    assert overall["AUC"].low < overall["AUC"].value < overall["AUC"].high
    each = [e.value for e in found.entries if e.metric == "AUC" and e.class_name]
    assert len(each) == 8
    assert overall["AUC"].value == pytest.approx(np.nanmean(each))
    checklist = {e.metric for e in found.entries if e.protocol.endswith("seven-point checklist (weighted, from 3)")}
    assert {"melanoma sensitivity", "seven-point score error"} <= checklist
    lines = table_lines(found.entries, "model")
    assert lines[0] == "model, derm7pt, linear probes"
    assert "DIAG melanoma" in lines[1]
    assert [line.split("|")[1].strip() for line in lines[3:7]] == ["AUC", "Sens", "Spec", "Prec"]
    assert found.sections[0].about.startswith("Logistic regression on frozen features")


def without(manifest: Manifest, column: str, cases: pd.Series) -> Manifest:
    """The manifest where ``cases`` have no value in ``column``."""
    return Manifest.build(manifest.table.assign(**{column: manifest.table[column].mask(cases)}), ".")


def embed_whole(manifest: Manifest):
    """The features of the same cases of ``manifest``, whatever labels they have lost."""
    return lambda cases: embed(manifest.select(manifest.table["case_id"].isin(cases.table["case_id"])))


def test_c_is_chosen_by_patients_where_no_valid_case_has_the_label(manifest):
    column, is_valid = "finding.streaks", manifest.table["split"] == "valid"
    some = without(manifest, column, is_valid)
    features = embed_whole(manifest)
    found = evaluate(model(), some, config(), embed=features)
    on_valid, in_folds = found.sections[0].about.split("by the log loss: ")[1].split("; ")
    assert column not in on_valid
    assert (on_valid.count("finding."), on_valid.count("diagnosis")) == (6, 1)
    train = some.split("train")
    label_M = labels_of(train, {column: targets_of(some, [column])[column]})[:, 0]
    known, groups_M = label_M >= 0, train.groups().to_numpy()
    probe = linear_probe(features(train)[0][known], label_M[known], 3, groups_M=groups_M[known])
    assert in_folds.startswith(f"in folds of the training patients, {column} {probe.c:g}.")
    (entry,) = [e for e in found.entries if (e.metric, e.class_name) == ("AUC", "STR irregular")]
    test = some.split("test")
    p_N = probe.scores(features(test)[0])[:, targets_of(some, [column])[column].index("irregular")]
    told = test.table[column].notna().to_numpy()
    assert entry.value == pytest.approx(roc_auc_score(test.table[column][told] == "irregular", p_N[told]))
    scored = evaluate(model(), manifest, config(split="valid"), embed=embed)  # what is scored chooses nothing
    assert "on valid" not in scored.sections[0].about


def test_a_label_that_the_training_cases_cannot_teach_is_named(manifest):
    is_train = manifest.table["split"] == "train"
    for cases in (is_train, is_train & (manifest.table["finding.streaks"] != "absent")):
        few = without(manifest, "finding.streaks", cases)
        with pytest.raises(ValueError, match=r"^protocol derm7pt, finding\.streaks: "):
            evaluate(model(), few, config(), embed=embed_whole(manifest))


def test_the_report_says_how_many_cases_lack_a_label(manifest):
    rows = manifest.table.index[manifest.table["split"] == "test"][:7]
    some = without(manifest, "diagnosis", manifest.table.index.isin(rows))
    taught = model(labels={"classes": targets_of(manifest, ["diagnosis"]), "relation": "no_proj"})
    found = evaluate(taught, some, config(protocols=["labels"]), embed=embed)
    test = (manifest.table["split"] == "test").sum()
    said = f"Cases count for the labels that they have; of {test} are 7 without diagnosis."
    assert found.sections[0].about == f"The label is diagnosis. {said}"
    assert {e.n for e in found.entries} == {test - 7}
    assert found.notes == []  # the diagnosis is one label of several, no condition


def test_groups_have_their_own_means_over_labels(manifest):
    predictions = never(manifest)
    found = list(measure_labels(predictions, config(subgroups=["skin_tone", "patient.sex", "source"]), SHARED))
    by_group = {(e.subgroup, e.metric): e for e in found if e.subgroup}
    sizes = manifest.table["patient.sex"].value_counts()
    assert {group for group, _ in by_group if "sex" in group} == {f"patient.sex = {s}" for s in sizes.index}
    assert not any("source" in group for group, _ in by_group)  # one source is no comparison
    tones = manifest.table["skin_tone"].value_counts()
    assert {group for group, _ in by_group if "tone" in group} == {
        f"skin_tone = {tone}" for tone, count in tones.items() if count >= AT_LEAST
    }
    inside = (manifest.table["patient.sex"] == "female").to_numpy()
    areas = []
    for column, names in predictions.classes.items():
        said, p_NC = manifest.table[column][inside], predictions.scores[column][0][inside]
        told = said.notna().to_numpy()
        of_class = [said[told] == name for name in names]
        areas.append(np.mean([roc_auc_score(y, p_NC[told, c]) for c, y in enumerate(of_class) if y.sum() > 0]))
    entry = by_group["patient.sex = female", "macro AUROC"]
    assert entry.value == pytest.approx(np.mean(areas))
    assert entry.n == inside.sum()
    assert entry.low < entry.value < entry.high
    assert {e.class_name for e in by_group.values()} == {""}


def test_a_model_that_was_taught_labels_answers_itself(manifest):
    classes = targets_of(manifest, COLUMNS)
    taught = model(labels={"classes": classes, "relation": "no_proj"})
    found = evaluate(taught, manifest, config(), embed=embed)
    assert {e.protocol for e in found.entries} >= {"derm7pt, own predictions"}
    trunk_ND, _ = embed(manifest.split("test"))
    p = taught.eval().predict(torch.from_numpy(trunk_ND))["finding.streaks"].detach().numpy()
    truth = manifest.split("test").table["finding.streaks"] == "irregular"
    (entry,) = [e for e in found.entries if (e.metric, e.class_name) == ("AUC", "STR irregular")]
    place = classes["finding.streaks"].index("irregular")
    assert entry.value == pytest.approx(roc_auc_score(truth, p[:, place]))


def never(manifest: Manifest, seeds: int = 1) -> LabelPredictions:
    """Always the first class but a little, in each seed a little more."""
    classes = targets_of(manifest, COLUMNS)
    rng = np.random.default_rng(0)
    scores = {}
    for column, names in classes.items():
        p = rng.dirichlet(np.ones(len(names)), size=(seeds, len(manifest))) * 0.1
        p[..., 0] += 0.9
        scores[column] = p
    return LabelPredictions("p", "", manifest, classes, scores)


def test_what_is_never_predicted_is_flagged_or_counted_as_zero(manifest):
    """Precision of a class that is never said: left out and named, or 0 as torchmetrics has it."""
    said = {}
    for undefined in ("nan", "zero"):
        found = list(measure_labels(never(manifest), config(undefined=undefined), SHARED))
        said[undefined] = next(e for e in found if e.metric == "Prec" and not e.class_name)
    assert np.isnan(said["nan"].value)
    assert said["nan"].notes.startswith("undefined, left out of the mean: BWV, DaG")
    assert said["zero"].value == 0
    assert said["zero"].notes.startswith("undefined, counted as 0: BWV")
    assert "undefined" in table_lines(list(measure_labels(never(manifest), config(), SHARED)), "m")[6]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_undefined_in_any_seed_is_flagged(manifest, seed):
    """Irregular streaks are said in every seed but one."""
    column = "finding.streaks"
    predictions = never(manifest, seeds=3)
    place = predictions.classes[column].index("irregular")
    for s in {0, 1, 2} - {seed}:
        predictions.scores[column][s, :5] = np.eye(3)[place]
    for undefined, note in (("nan", "undefined"), ("zero", "undefined, counted as 0")):
        found = list(measure_labels(predictions, config(undefined=undefined), SHARED))
        of = {e.class_name: e for e in found if e.metric == "Prec"}
        assert of["STR irregular"].notes.startswith(note)
        assert np.isnan(of["STR irregular"].value) == (undefined == "nan")
        assert "STR" in of[""].notes.split(";")[0].split(": ")[1].split(", ")
        assert "undefined" not in next(e.notes for e in found if (e.metric, e.class_name) == ("AUC", ""))


def test_n_counts_the_cases_whose_label_is_known(manifest):
    table = manifest.table.copy()
    table.loc[10:, "finding.streaks"] = None
    some = Manifest.build(table, ".")
    found = {e.class_name: e for e in measure_labels(never(some), config(), SHARED) if e.metric == "balanced accuracy"}
    assert found["finding.streaks"].n == some.table["finding.streaks"].notna().sum() <= 10
    assert found["diagnosis"].n == some.table["diagnosis"].notna().sum()
    assert found[""].n == len(some)


def test_several_seeds_are_averaged(manifest):
    together = never(manifest, seeds=3)
    apart = []
    for s in range(3):
        one = LabelPredictions(
            "p", "", manifest, together.classes, {k: v[s : s + 1] for k, v in together.scores.items()}
        )
        apart.append({(e.metric, e.class_name): e.value for e in measure_labels(one, config(), SHARED)})
    for e in measure_labels(together, config(), SHARED):
        expected = np.mean([a[e.metric, e.class_name] for a in apart])
        assert np.isnan(e.value) == np.isnan(expected)
        assert np.isnan(e.value) or e.value == pytest.approx(expected)
    first = LabelPredictions("p", "", manifest, together.classes, {k: v[:1] for k, v in together.scores.items()})
    found = [measure_labels(p, config(), SHARED) for p in (first, together)]
    ends = [next((e.low, e.high) for e in of if (e.metric, e.class_name) == ("AUC", "")) for of in found]
    assert ends[0] != ends[1]  # seeds are drawn too


def test_the_revised_rule_and_a_threshold_reach_the_checklist(manifest):
    chosen = config(checklist_rule="revised", checklist_threshold=2)
    found = [e for e in measure_labels(never(manifest), chosen, SHARED) if "checklist" in e.protocol]
    assert {e.protocol for e in found} == {"p, seven-point checklist (revised, from 2)"}
    weighted = [e for e in measure_labels(never(manifest), config(), SHARED) if "checklist" in e.protocol]
    error, other = (next(e.value for e in es if e.metric == "seven-point score error") for es in (found, weighted))
    assert error < other  # points of 1 instead of 1 and 2
    with pytest.raises(ValueError, match="checklist_threshold is 1 to 7"):
        config(checklist_rule="revised", checklist_threshold=8)
    with pytest.raises(ValueError, match="Did you mean 'revised'"):
        config(checklist_rule="revise")
    with pytest.raises(ValueError, match="checklist_rule has no effect"):
        config(protocols=["knn"], checklist_rule="revised")


SUSPICIOUS = ([], ["streaks"], ["pigment_network"], ["pigment_network", "streaks"],
              ["pigment_network", "blue_whitish_veil"], list(POINTS))  # fmt: skip


def checked(diagnoses: list[str | None]) -> LabelPredictions:
    """Six cases that score 0, 1, 2, 3, 4 and 10 points, read without an error, with these diagnoses."""
    table = pd.DataFrame({"case_id": list("abcdef"), "image": list("abcdef"), "diagnosis": diagnoses})
    classes, scores = {}, {}
    for criterion, (kind, _) in POINTS.items():
        found = [criterion in case for case in SUSPICIOUS]
        table[f"finding.{criterion}"] = np.where(found, kind, "absent")
        classes[f"finding.{criterion}"] = ["absent", kind]
        scores[f"finding.{criterion}"] = np.eye(2)[np.array(found, dtype=int)][None]
    return LabelPredictions("p", "", Manifest.build(table, "."), classes, scores)


def shares(predictions: LabelPredictions, **settings) -> tuple[float, float]:
    of = {e.metric: e for e in measure_labels(predictions, config(**settings), SHARED)}
    return of["melanoma sensitivity"].value, of["melanoma specificity"].value


def test_a_threshold_moves_sensitivity_and_specificity_as_counted_by_hand():
    """Melanomas score 1, 3 and 10 points, the others 0, 2 and 4."""
    predictions = checked(["nevus", "melanoma", "nevus", "melanoma", "nevus", "melanoma"])
    by_hand = {1: (3, 1), 2: (2, 1), 3: (2, 2), 4: (1, 2), 5: (1, 3), 10: (1, 3)}  # melanomas found, others let go
    for threshold, (found, cleared) in by_hand.items():
        assert shares(predictions, checklist_threshold=threshold) == (
            pytest.approx(found / 3),
            pytest.approx(cleared / 3),
        )
    assert shares(predictions) == shares(predictions, checklist_threshold=3)
    # one point each: melanomas have 1, 2 and 7, the others 0, 1 and 2
    revised = [shares(predictions, checklist_rule="revised", checklist_threshold=t) for t in (1, 2, 3)]
    assert revised == [(pytest.approx(f / 3), pytest.approx(c / 3)) for f, c in ((3, 1), (2, 2), (1, 3))]


def test_melanoma_is_known_by_its_words_in_the_checklist():
    plain = ["nevus", "melanoma", "nevus", "melanoma", "nevus", "melanoma"]
    kinds = ["no melanoma", "melanoma (in situ)", "nevus", "Malignant melanoma", "nevus", "melanoma metastasis"]
    assert shares(checked(kinds)) == shares(checked(plain))
    with pytest.raises(ValueError, match=r"none of the diagnoses names melanoma.*: nevus, wart\."):
        shares(checked(["nevus", "wart"] * 3))
    none_here = checked(["nevus", "wart"] * 3)
    found = {e.metric: e for e in measure_labels(none_here, config(), SHARED, ["melanoma", "nevus", "wart"])}
    assert np.isnan(found["melanoma sensitivity"].value)
    assert found["melanoma sensitivity"].notes.startswith("undefined")
    some = {e.metric: e.n for e in measure_labels(checked([*plain[:4], None, None]), config(), SHARED)}
    assert (some["melanoma sensitivity"], some["seven-point score error"]) == (4, 6)


def test_pairs_are_matched_on_each_split_by_features_and_projections(manifest):
    paired = model(pair={"width": 4})
    found = evaluate(paired, manifest, config(protocols=["pairs"]), embed=embed)
    assert {e.split for e in found.entries} == {"train", "valid", "test"}
    assert len({e.protocol for e in found.entries}) == 4
    (rank,) = [e for e in found.entries if e.split == "test" and e.metric == "average rank"
               and e.protocol == "pair matching, dermoscopy to clinical, features"]  # fmt: skip
    trunk, _ = embed(manifest.split("test"))
    d, c = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (trunk[:, :6], trunk[:, 6:]))
    similar = d @ c.T
    expected = np.mean([(similar[i] >= similar[i, i] - 1e-9).sum() for i in range(len(d))])
    assert rank.value == pytest.approx(expected, abs=1e-6)
    assert rank.notes == f"by chance {(len(d) + 1) / 2:.3g}"
    with pytest.raises(ValueError, match="looks at two pictures"):
        evaluate(Branches({"image": Pixels()}), manifest, config(protocols=["pairs"]), embed=embed)


def test_a_manifest_without_the_eight_columns_is_a_sentence(manifest):
    less = Manifest.build(manifest.table.drop(columns="finding.streaks"), ".")
    with pytest.raises(ValueError, match=r"protocol derm7pt needs the column\(s\) finding.streaks"):
        evaluate(model(), less, config(), embed=embed)


def test_labels_are_those_the_model_was_taught(manifest):
    taught = model(labels={"classes": targets_of(manifest, ["diagnosis"]), "relation": "no_proj"})
    found = evaluate(taught, manifest, config(protocols=["labels", "derm7pt"]), embed=embed)
    own = {(e.metric, e.class_name) for e in found.entries if e.protocol == "own predictions of labels"}
    # one label is told once
    metrics = ("macro AUROC", "accuracy", "accuracy@3", "balanced accuracy", "macro precision", "macro F1")
    assert own == {(metric, "") for metric in metrics}
    assert found.sections[0].about == "The label is diagnosis."
    # of the eight it knows one, so the table is by probes
    assert {e.protocol for e in found.entries if e.metric == "AUC"} == {"derm7pt, linear probes"}
    with pytest.raises(ValueError, match="needs a model that was taught labels"):
        evaluate(model(), manifest, config(protocols=["labels"]), embed=embed)


def test_the_second_stage_sees_the_table(manifest):
    """A model that guesses, and a table that knows: the machines are worth something, and the share says so."""
    knows = manifest.table["diagnosis"].where(manifest.table["diagnosis"].isin(["melanoma", "psoriasis"]), "other")
    told = Manifest.build(manifest.table.assign(**{"lesion.told": knows}), ".")
    guesses = model(labels={"classes": targets_of(manifest, ["diagnosis"]), "relation": "no_proj"})
    found = evaluate(guesses, told, config(protocols=["labels", "second_stage"]), embed=embed)
    by_protocol = {e.protocol: e.value for e in found.entries if e.metric == "balanced accuracy" and not e.class_name}
    assert by_protocol["second stage with metadata"] > by_protocol["own predictions of labels"] + 0.02
    (about,) = [s.about for s in found.sections if s.protocol == "second stage with metadata"]
    assert "the model's share of the result" in about
    halves = [int(n) for n in re.findall(r"(\d+) valid cases|on the other (\d+)", about) for n in n if n]
    assert sum(halves) == (manifest.table["split"] == "valid").sum()
    with pytest.raises(ValueError, match=r"unknown category 'lesion\.tol'"):
        evaluate(guesses, told, config(protocols=["second_stage"], metadata=["lesion.tol"]), embed=embed)


def test_the_table_of_cases_says_truth_probabilities_and_the_checklist(manifest, tmp_path):
    predictions = never(manifest, seeds=2)
    table = case_table(predictions, threshold=2)
    mean = predictions.scores["finding.streaks"].mean(axis=0)
    assert table["finding.streaks: absent"].tolist() == mean[:, 0].tolist()
    assert set(table["finding.streaks: said"]) == {"absent"}
    assert table["finding.streaks"].fillna("").tolist() == manifest.table["finding.streaks"].fillna("").tolist()
    assert not table["melanoma suspected"].any()
    row = table.iloc[5]
    sure = {c: row[f"finding.{c}: {kind}"] for c, (kind, _) in POINTS.items()}
    assert row["expected score"] == pytest.approx(sum(sure[c] * points for c, (_, points) in POINTS.items()))
    variance = sum(points**2 * sure[c] * (1 - sure[c]) for c, (_, points) in POINTS.items())
    assert row["deviation of the score"] == pytest.approx(variance**0.5)
    assert 0 < row["probability of a score from 2"] < 1

    found = evaluate(model(), manifest, config(), embed=embed)
    found.write(tmp_path)
    written = pd.read_csv(tmp_path / "model-derm7pt-linear-probes.csv")
    assert written["case_id"].tolist() == manifest.split("test").table["case_id"].tolist()
