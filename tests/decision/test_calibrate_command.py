"""`dermis calibrate` from pictures to a decision in the model's folder, and `dermis.decide` with it."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import dermis
from dermis.cases.manifest import Manifest
from dermis.cli import main
from dermis.decision.decider import Decider, key_of
from dermis.decision.stored import read
from dermis.model import load, save
from dermis.model.embed import embed_cases
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches, build_image_tower

CLASSES = ("dark", "red", "pale")
COLOURS = {"dark": (70, 50, 40), "red": (190, 60, 60), "pale": (220, 190, 170)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An untrained tower and 120 synthetic cases; their diagnoses are made ones, visible as a colour cast."""
    folder = tmp_path_factory.mktemp("calibrate")
    manifest = dermis.make_cases(folder / "cases", cases=120, size=48, seed=0, split=(0.4, 0.35, 0.25))
    rng, table = np.random.default_rng(0), manifest.table.copy()
    table["diagnosis"] = rng.choice(CLASSES, size=len(table))
    for path, diagnosis in zip(table["image"], table["diagnosis"], strict=True):
        picture = np.asarray(Image.open(manifest.root / path).convert("RGB"), float)
        mixed = 0.5 * picture + 0.5 * np.array(COLOURS[diagnosis]) + rng.normal(size=3) * 25
        Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(manifest.root / path)
    Manifest.build(table, manifest.root).write(folder / "cases.parquet")
    torch.manual_seed(0)
    save(folder / "model", build_image_tower(ImageTowerConfig(name="resnet10t", size=48), pretrained=False))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """The same model without a decision."""
    shutil.copytree(made / "model", tmp_path / "model")
    Manifest.read(made / "cases.parquet").write(tmp_path / "cases.parquet")
    return tmp_path


def run(folder, made, *options, model="model", manifest="cases.parquet", status=0):
    paths = [str(folder / model), str(folder / manifest), "--cache", str(made / "cache")]
    with pytest.raises(SystemExit) as end:
        main(["calibrate", *paths, *options])
    assert end.value.code == status


def test_the_command_stores_a_decision_and_says_what_it_is_worth(folder, made, capsys):
    run(folder, made, "--alpha", "0.2", "--ood-level", "0.1")
    said = capsys.readouterr().out
    decision, model = read(folder / "model"), load(folder / "model")
    assert decision.classes == tuple(sorted(CLASSES))
    assert decision.rules.alpha == 0.2
    test = Manifest.read(folder / "cases.parquet").split("test")
    judged = decision.judge(embed_cases(model, test)[0])
    label_N = [decision.classes.index(d) for d in test.table["diagnosis"]]
    coverage = judged.possible[np.arange(len(test)), label_N].mean()
    report = json.loads((folder / "model" / "decision" / "report.json").read_text())
    value = {e["metric"]: e["value"] for e in report["entries"] if not e["subgroup"] and not e["class_name"]}
    assert value["coverage"] == pytest.approx(coverage)
    assert value["not sure"] == pytest.approx(1 - judged.sure.mean())
    for line in ("temperature ", "log loss before", "log loss after", "ECE before", "ECE after", "not sure"):
        assert f"\n{line}" in f"\n{said}"
    assert f"coverage                {coverage:.3f} [" in said
    assert "patient.sex = " in said
    assert "Promised is 0.8 of patients on average" in said
    assert f"n = {len(test)} test cases of {test.groups().nunique()} patients" in said

    for row, path in enumerate(test.table["image"][:3]):
        verdict = dermis.decide(folder / "model", test.root / path)
        np.testing.assert_allclose(
            [verdict.probabilities[c] for c in decision.classes], judged.probability[row], atol=1e-5
        )
        assert set(verdict.possible) == {c for c, p in zip(decision.classes, judged.possible[row], strict=True) if p}
        assert list(verdict.probabilities.values()) == sorted(verdict.probabilities.values(), reverse=True)
        assert verdict.sure == judged.sure[row] == (verdict.why == "")


def test_a_verdict_says_why_nobody_should_be_sure(folder, made):
    run(folder, made, "--alpha", "0.2", "--ood-level", "0.1", "--score", "aps")
    decider = Decider.load(folder / "model")
    strange = np.full((48, 48, 3), (0, 0, 255), np.uint8)
    verdict = dermis.decide(decider, strange)
    assert not verdict.sure
    assert verdict.ood <= 0.1
    assert verdict.why.endswith("the picture is unlike those that it learnt from")
    decider.decision.threshold[:] = 1
    assert dermis.decide(decider, strange).why.startswith("3 classes are possible and ")
    decider.decision.threshold[:] = -1
    assert dermis.decide(decider, strange).why.startswith("no class fits well enough and ")
    with pytest.raises(ValueError, match="looks at image; given: no picture"):
        dermis.decide(decider)
    with pytest.raises(ValueError, match="looks at image; given: image, dermoscopy"):
        dermis.decide(decider, strange, dermoscopy=strange)
    with pytest.raises(ValueError, match="image is given twice"):
        dermis.decide(decider, strange, image=strange)


def test_a_decision_of_another_tower_is_refused(folder, made):
    run(folder, made, "--alpha", "0.2", "--ood-level", "0.1")
    model = load(folder / "model")
    next(model.parameters()).data.view(-1)[0] += 1
    with pytest.raises(ValueError, match=r"was fitted on image tower .* Fit it again with `dermis calibrate`"):
        Decider(model, read(folder / "model"))
    save(folder / "model", model)
    with pytest.raises(ValueError, match="has no decision"):
        dermis.decide(folder / "model", np.zeros((48, 48, 3), np.uint8))


def test_a_model_of_two_pictures_decides_on_both(folder, made):
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), paired=True), seed=3)
    save(folder / "pair", model)
    run(folder, made, "--alpha", "0.2", "--ood-level", "0", model="pair")
    case = Manifest.read(folder / "cases.parquet").split("test")
    path, dermoscopy = (case.root / case.table[c][0] for c in ("image", "dermoscopy"))
    verdict = dermis.decide(folder / "pair", path, dermoscopy=dermoscopy)
    judged = read(folder / "pair").judge(embed_cases(load(folder / "pair"), case)[0])
    assert max(verdict.probabilities.values()) == pytest.approx(judged.probability[0].max(), abs=1e-5)
    model.picture_towers["dermoscopy"].norm = torch.nn.Identity()
    assert key_of(model) != read(folder / "pair").tower


def torn(table):
    table["patient_id"] = "somebody"


def without_valid(table):
    table.loc[table["split"] == "valid", "split"] = "train"


def unlabelled_test(table):
    table.loc[table["split"] == "test", "diagnosis"] = None


def without_red(table):
    table.loc[(table["split"] == "valid") & (table["diagnosis"] == "red"), "diagnosis"] = "pale"


@pytest.mark.parametrize(
    "change, options, said",
    [
        (torn, [], "stand in more than one split"),
        (without_valid, [], "no case of the manifest is in split 'valid'"),
        (unlabelled_test, [], "no case of split 'test' is dark or pale or red: deal it more (`dermis split`)"),
        (without_red, [], "no case of split 'valid' is red: every class needs cases"),
        (None, ["--classes", "dark", "reed"], "unknown class 'reed'. Did you mean 'red'?"),
        (None, ["--classes", "dark"], "between two classes or more; given: dark"),
        (
            None,
            ["--alpha", "0.02"],
            "patients are too few: alpha 0.02 needs at least 49. Split 'valid' has 22 patients",
        ),
        (None, ["--alpha", "2"], "alpha lies between 0 and 1"),
    ],
)
def test_wrong_input_is_said_and_nothing_is_stored(folder, made, capsys, change, options, said):
    manifest = Manifest.read(folder / "cases.parquet")
    table = manifest.table.copy()
    if change is not None:
        change(table)
    Manifest.build(table, manifest.root).write(folder / "changed.parquet")
    run(folder, made, "--ood-level", "0", *options, manifest="changed.parquet", status=2)
    assert said in capsys.readouterr().err
    assert not (folder / "model" / "decision").exists()


def test_a_model_of_the_hub_has_no_folder_to_keep_it_in(folder, made, capsys):
    with pytest.raises(SystemExit):
        main(["calibrate", "hf-hub:some/model", str(folder / "cases.parquet")])
    assert "is no folder here: a decision is kept in its model's folder" in capsys.readouterr().err


def test_some_classes_are_decided_between_and_the_others_counted(folder, made, capsys):
    run(folder, made, "--classes", "red", "dark", "--alpha", "0.3", "--ood-level", "0")
    assert read(folder / "model").classes == ("red", "dark")
    table = Manifest.read(folder / "cases.parquet").table
    assert f"{(table['diagnosis'] == 'pale').sum()} cases take no part" in capsys.readouterr().out
