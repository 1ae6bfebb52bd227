"""The cases of a suite's rows: pictures, labels, what stops a row before a picture is opened, and names of cases."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from dermis import torchvision_operators  # noqa: F401 (before timm and open_clip)
from dermis.cases.manifest import Manifest
from dermis.cases.split import split
from dermis.cases.synthetic import latent_cases
from dermis.cases.synthetic.tables import row as table_row
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.suite import measure_suite
from dermis.evaluation.suite_cases import cases_key, row_cases
from dermis.evaluation.suite_markdown import markdown
from dermis.towers.branches import Branches
from tests.evaluation.test_comparison import PAD, Named, embed, manifest, named, two_pictures
from tests.evaluation.test_label_predictions import embed as both_pictures
from tests.evaluation.test_label_predictions import model as two
from tests.evaluation.test_suite import HOW, TORN, N, cases, measured, of, row


class NoTexts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))


REASONS = {
    "no texts": (row("prompts"), NoTexts, cases(), "needs a model with a text tower; this one has pictures only"),
    "no diagnosis": (row("knn"), Named, manifest([None] * N, caption=["a"] * N), "needs the column(s) diagnosis"),
    "one class": (row("prompts"), Named, manifest(["nevus"] * N), "all cases have one diagnosis, 'nevus'"),
    "no test": (row("prompts"), Named, cases(split=["train"] * N), "no case of the manifest is in split 'test'"),
    "no train": (row("knn"), Named, cases(split=["test"] * N), "no case of the manifest is in split 'train'"),
    "none scored": (
        row("knn"),
        Named,
        manifest([*named(60), *[None] * 60], split=["train"] * 60 + ["test"] * 60),
        "no case of split 'test' has a diagnosis",
    ),
    "torn": (row("knn"), Named, cases(split=TORN), "60 patient_id stand in more than one split"),
    "rare": (row("knn"), Named, manifest([*named(N - 1), "wart"]), "fewer groups than the 3 parts"),
    "no concepts": (row("concepts"), Named, cases(), "needs columns concept.NAME"),
    "no captions": (row("retrieval"), Named, cases(), "no case has a caption"),
    "no metadata": (row("table_retrieval"), Named, cases(), "no case has a value in a column lesion.NAME"),
    "no spaces": (
        row("table_retrieval"),
        Named,
        cases(**{"patient.age": [50.0] * N}),
        "needs a model whose pictures and metadata share a space",
    ),
    "no pairs": (row("pairs"), Named, cases(), "needs the column(s) dermoscopy"),
    "no dermoscopy": (row("knn"), two, cases(), "this model needs the column(s) dermoscopy"),
    "one picture": (row("pairs"), Named, cases(dermoscopy=["d"] * N), "a model that looks at two pictures"),
    "no checklist": (
        row("derm7pt"),
        Named,
        cases(split=["train", "train", "test", "test"] * 30),
        "needs the column(s)",
    ),
}


@pytest.mark.parametrize("why", list(REASONS))
def test_what_columns_tell_stops_a_row_before_any_picture_is_opened(tmp_path, why):
    one, model, some, sentence = REASONS[why]
    refuse = partial(pytest.fail, "a picture was opened")
    found = measure_suite(model(), of(one), {"some": lambda: some}, tmp_path, embed=refuse)
    assert found.rows == {}
    assert found.missing[one.name].startswith("cannot be measured: ")
    assert sentence in found.missing[one.name]
    assert f"- {one.name}: cannot be measured: " in markdown(found)
    assert not (tmp_path / "rows").exists()


def test_a_label_stands_for_the_diagnosis_and_its_other_values_are_left_out(tmp_path):
    kinds = np.where(np.arange(N) % 6 < 3, "benign", "malignant").astype(object)
    kinds[:7], kinds[7] = "indeterminate", "other"
    some = cases(**{"finding.malignancy": kinds})
    rows = of(row("malignancy_prompts"), row("malignancy_probe"))
    found = measured(tmp_path, rows, some=some)
    assert found.rows["some-malignancy_prompts"].n == N - 8
    labelled = Manifest.build(some.table.assign(diagnosis=np.where(np.arange(N) < 8, None, kinds)), ".")
    dealt = split(labelled, seed=0)
    truth = evaluate(Named(), dealt, rows.rows[1].config("test", n_boot=10), embed=embed)
    assert found.rows["some-malignancy_probe"].value == truth.value("linear probe", "macro AUROC").value
    without = measured(tmp_path / "b", rows, some=cases()).missing
    assert "needs the column(s) finding.malignancy" in without["some-malignancy_probe"]


def test_dermoscopy_may_be_the_picture(tmp_path):
    some = cases(dermoscopy=[None, *(f"{i - 1}.png" for i in range(1, N))])
    shown = lambda part: embed(  # noqa: E731
        Manifest.build(part.table.assign(case_id="c" + part.table["image"].str.removesuffix(".png")), ".")
    )
    one = of(replace(row("prompts"), picture="dermoscopy"))
    found = measure_suite(Named(), one, {"some": lambda: some}, tmp_path, n_boot=10, embed=shown)
    assert found.missing == {}
    got = found.rows["some-prompts"]
    right = np.array([PAD.index(d) for d in some.table["diagnosis"][1:]]) == np.arange(N - 1) % 6
    accuracy = next(e["value"] for e in got.entries if e["metric"] == "accuracy")
    assert (got.n, accuracy) == (N - 1, pytest.approx(right.mean()))
    model, some, vectors = two_pictures(12)
    only = Branches({"dermoscopy": model.picture_towers["dermoscopy"]})
    rows = of(row("prompts"), replace(row("knn"), picture="image"), replace(row("linear_probe"), picture="dermoscopy"))
    missing = measure_suite(only, rows, {"some": lambda: some}, tmp_path / "b", embed=vectors).missing
    assert "this model looks at dermoscopy." in missing["some-knn"]
    assert "no case of the manifest is in split 'test'" in missing["some-linear_probe"]


def test_pairs_are_those_of_the_scored_split_and_two_pictures_are_told(tmp_path):
    model, some, vectors = two_pictures(40)
    some = Manifest.build(some.table.assign(split=["train"] * 30 + ["test"] * 10), ".")
    rows = of(row("pairs"), replace(row("knn"), picture="dermoscopy"))
    found = measure_suite(model, rows, {"some": lambda: some}, tmp_path, n_boot=10, embed=vectors)
    got = found.rows["some-pairs"]
    assert got.n == 10
    config = row("pairs").config("test", n_boot=10)
    truth = [e for e in evaluate(model, some, config, embed=vectors).entries if e.protocol == HOW["pairs"].entry]
    assert got.value == next(e.value for e in truth if (e.metric, e.split) == ("acc@1", "test"))
    assert "this model sees dermoscopy and image of each case" in got.notes
    assert (
        "the row is about the picture 'dermoscopy'; this model looks at dermoscopy and image"
        in found.missing["some-knn"]
    )


def test_pairs_of_a_set_without_a_split_are_those_of_all_its_cases(tmp_path):
    model, some, vectors = two_pictures(12)
    some = Manifest.build(some.table.drop(columns="split"), ".")
    found = measure_suite(model, of(row("pairs")), {"some": lambda: some}, tmp_path, n_boot=10, embed=vectors)
    got = found.rows["some-pairs"]
    assert (got.n, got.value) == (12, pytest.approx(11 / 12))  # all but the first find their partner
    page = (tmp_path / "reports" / "some-pairs" / "report.md").read_text()
    assert "Each picture asks among the 12 of the other kind" in page


def test_who_sees_two_pictures_of_a_case_is_not_compared_with_who_sees_one():
    both, some, _ = two_pictures(12)
    photograph, dermoscopy = (Branches({name: both.picture_towers[name]}) for name in ("image", "dermoscopy"))
    some = Manifest.build(some.table.assign(diagnosis=named(12), split=["train", "test"] * 6), ".")
    bare = Manifest.build(some.table.drop(columns="dermoscopy"), ".")

    def key(part, model, picture="image"):
        one = row("knn", picture=picture)
        return cases_key(one, row_cases(one, part, model))

    assert key(some, both) != key(some, photograph)
    assert key(some, photograph) == key(bare, photograph)  # what nobody looks at makes no other cases
    assert key(some, dermoscopy, "dermoscopy") == key(some, photograph, "dermoscopy")


def test_a_set_is_one_whatever_folder_and_format_it_has(tmp_path):
    numbers = np.random.default_rng(0).normal(size=N)
    some = cases(**{"patient.age": numbers, "concept.scale": (numbers > 0) * 1.0})
    elsewhere = some.table.assign(image="images/deep/" + some.table["image"].str.replace("png", "JPG"))
    Manifest.build(elsewhere, tmp_path).write(tmp_path / "some.csv")
    other = Manifest.read(tmp_path / "some.csv")
    rows = of(row("prompts"), row("knn"), row("concepts"), row("table_retrieval"))
    keys = [[cases_key(one, row_cases(one, part, Named())) for one in rows.rows] for part in (some, other)]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 4
    years = [cases(**{"patient.age": np.full(N, 50, dtype)}) for dtype in (int, float)]
    assert len({cases_key(rows.rows[3], row_cases(rows.rows[3], part, Named())) for part in years}) == 1
    small, large = (
        Manifest.build(some.table.assign(image=[f"{name}.npz!/test/{i}" for i in range(N)]), ".") for name in "ab"
    )
    one = row("prompts")
    assert len({cases_key(one, row_cases(one, part, Named())) for part in (some, small, large)}) == 3


def test_each_protocol_of_ours_finds_its_number(tmp_path, lesions, branches, vectors):
    kinds = np.where(np.arange(N) % 6 < 3, "benign", "malignant")
    texts = {"caption": [f"{PAD[i % 6]} {i}" for i in range(N)], "concept.scale": (np.arange(N) % 6 < 2) * 1.0}
    some = cases(**{"finding.malignancy": kinds}, **texts)
    malignancy = ["malignancy_prompts", "malignancy_probe"]
    seen = ["prompts", "knn", "linear_probe", "few_shot", *malignancy, "concepts", "retrieval"]
    found = measured(tmp_path / "a", of(*map(row, seen)), some=some)
    assert found.missing == {}
    tables = branches("lesion", "patient")
    lesion = measure_suite(tables, of(row("table_retrieval")), {"some": lambda: lesions}, tmp_path / "b", embed=vectors)
    got = lesion.rows["some-table_retrieval"]
    assert next(e["protocol"] for e in got.entries if e["value"] == got.value) == "image-to-table retrieval, lesion"
    assert any(note.startswith("by chance ") for note in got.notes)
    drawn = pd.DataFrame([table_row(case, "x", "synthetic", "") for case in latent_cases(cases=400, seed=12)])
    latent = split(Manifest.build(drawn.drop(columns="split"), "."), seed=0)
    rows = of(row("derm7pt"), row("pairs"))
    both = measure_suite(two(), rows, {"some": lambda: latent}, tmp_path / "c", n_boot=10, embed=both_pictures)
    assert both.missing == {}
    assert {*seen, "table_retrieval", "derm7pt", "pairs"} == set(HOW)
