"""Runs that draw patients and read tables: what stops them, what the report says, where the schemas come from."""

from pathlib import Path

import pytest

import dermis
from dermis.batch.config import DataConfig
from dermis.batch.patients import PatientBatches
from dermis.batch.sampler import EpochBatches
from dermis.cases.manifest import Manifest
from dermis.cases.table_schema import TableSchema
from dermis.experiment import read_experiment, stages_of
from dermis.model import load
from dermis.recipes import find_recipe
from dermis.run import build_method, run_experiment, with_tables
from dermis.training_data import batches_of, training_cases


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Manifest:
    return dermis.make_cases(tmp_path_factory.mktemp("cases"), patients=24, size=32, seed=5)


def batches(cases, recipe, *flags):
    experiment = with_tables(read_experiment(find_recipe(recipe), flags, smoke=True), cases)
    method = build_method(experiment)
    chosen, _, _ = training_cases(cases, experiment.data, 0, ())
    return batches_of(experiment, method, chosen, None, stages_of(experiment)[""])


def test_patients_are_drawn_where_the_method_contrasts_them(cases):
    drawn = batches(cases, "slimp_synthetic", "--data.lesions", "2", "--training.batch-size", "5")
    assert isinstance(drawn.order, PatientBatches)
    for batch in drawn:
        counts = batch["patient_B"].unique(return_counts=True)[1]
        assert len(counts) == 5
        assert counts.max() <= 2
        assert {"lesion_num_BF", "patient_cat_BG", "lesion_same_B"} <= batch.keys()
    flat = batches(cases, "slimp_synthetic", "--method.levels", "flat", "--data.lesions", "None")
    assert type(flat.order) is EpochBatches
    assert {"case_num_BF", "case_same_B"} <= next(iter(flat)).keys()


def test_malignant_lesions_first_are_in_every_draw_of_their_patient(cases):
    first = ["--data.draw-first", "melanoma", "basal cell carcinoma", "--data.lesions", "1"]
    drawn = batches(cases, "slimp_synthetic", *first, "--training.batch-size", "4")
    train = cases.split("train").table
    wanted = train["diagnosis"].isin(["melanoma", "basal cell carcinoma"])
    has = set(train["patient_id"][wanted])
    rows = [int(row) for batch in drawn for row in batch["row_B"]]
    assert any(train["patient_id"][row] in has for row in rows)
    assert all(wanted[row] for row in rows if train["patient_id"][row] in has)


@pytest.mark.parametrize(
    ("recipe", "flags", "sentence"),
    [
        ("slimp_synthetic", ["--data.lesions", "None"], r"contrasts patients: set data\.lesions"),
        ("simclr", ["--data.lesions", "4"], r"data\.lesions has no effect: this method knows no patients"),
        ("simclr", ["--data.corruption", "0.2"], r"data\.corruption has no effect: this method reads no metadata"),
        ("slimp_synthetic", ["--data.draw-first", "melanom"], "Did you mean 'melanoma'"),
    ],
)
def test_settings_that_cannot_work_stop_with_a_sentence(cases, recipe, flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        batches(cases, recipe, *flags)


def test_a_diagnosis_to_hold_out_must_be_in_the_manifest(cases):
    with pytest.raises(ValueError, match=r"data\.hold_out needs the column\(s\) diagnosis"):
        training_cases(
            Manifest.build(cases.table.drop(columns="diagnosis"), cases.root), DataConfig(hold_out=["melanoma"]), 0, ()
        )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"draw_first": ["melanoma"]}, r"draw_first has no effect without data\.lesions"),
        ({"lesions": 0}, "lesions must be at least 1, not 0"),
        ({"balance": True, "lesions": 4}, r"balance and data\.lesions exclude each other"),
        ({"corruption": 1.0}, r"corruption is a probability from 0 to below 1, not 1\.0"),
    ],
)
def test_settings_that_exclude_each_other_stop_with_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        DataConfig(**settings)


def test_a_run_on_pictures_alone_ends_with_a_model_and_says_that_nothing_was_measured(cases, tmp_path, capsys):
    table = cases.table[["case_id", "image", "patient_id", "split"]]
    Manifest.build(table, cases.root).write(tmp_path / "cases.parquet")
    flags = ["--data.manifest", str(tmp_path / "cases.parquet"), "--training.batch-size", "8"]
    experiment = read_experiment(find_recipe("simclr"), flags, smoke=True)
    report = run_experiment(experiment, tmp_path / "run", "a test")
    assert report is not None
    assert (report.entries, report.cases) == ([], int((table["split"] == "test").sum()))
    said = "Not measured, for no case of split 'train' has a diagnosis: knn, linear_probe."
    assert said in report.notes
    assert said in capsys.readouterr().err
    assert load(tmp_path / "run" / "model")


def test_a_run_says_what_its_patients_are_and_keeps_the_schemas_of_the_training_split(cases, tmp_path: Path):
    table = cases.table.drop(columns="patient_id").assign(**{"lesion.only_test": "said"})
    table["lesion.only_test"] = table["lesion.only_test"].where(table["split"] == "test")
    table.loc[table["split"] == "test", "patient.age"] = 120.0  # would move the mean
    manifest = Manifest.build(table, cases.root)
    manifest.write(tmp_path / "cases.parquet")
    flags = ["--data.manifest", str(tmp_path / "cases.parquet"), "--data.cache", str(tmp_path / "cache")]
    flags += ["--data.draw-first", "melanoma", "--training.batch-size", "4"]
    experiment = read_experiment(find_recipe("slimp_synthetic"), flags, smoke=True)
    experiment.evaluation.merge = None
    experiment.evaluation.protocols, experiment.evaluation.inputs = ["knn"], ["image"]
    experiment.evaluation.low_shot_fractions = type(experiment.evaluation)().low_shot_fractions
    experiment.untrained = False
    report = run_experiment(experiment, tmp_path / "run", "a test")
    assert report is not None
    assert "There is no patient_id: a patient is there the pictures of one lesion." in report.notes
    assert any("melanoma were drawn first" in note and "labels were used" in note for note in report.notes)
    assert {e.model for e in report.entries} == {"slimp_synthetic"}
    schemas = load(tmp_path / "run" / "model").parts["tables"].schemas
    train = manifest.split("train")
    assert schemas == {level: TableSchema.learn(train, level) for level in ("lesion", "patient")}
    assert schemas["patient"].numbers["patient.age"][0] < 100
    assert "lesion.only_test" not in schemas["lesion"].columns
