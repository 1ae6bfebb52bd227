"""`dermis evaluate`: options, the folder of sets, small models on real files, what becomes of an older report."""

import json

import pytest

from dermis.commands.evaluate import run
from dermis.evaluation.suites import sets_in
from dermis.model import save
from dermis.towers.build import ImageTowerConfig, build_image_tower
from tests.evaluation.test_suite import OURS


def test_a_folder_of_sets_says_what_it_holds_beside(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*nowhere: --sets is where the manifests of ham10000"):
        sets_in(tmp_path / "nowhere", OURS.sets)
    for name in ("pad_ufes_20.parquet", "mine.csv", "ham10000.csv", "ddi.csv", "ddi.parquet", "ddi.schema.json"):
        (tmp_path / name).touch()
    found, notes = sets_in(tmp_path, OURS.sets)
    assert set(found) == {"ham10000", "ddi"}
    assert notes == [f"{tmp_path} holds tables that are none of the sets: mine.csv, pad_ufes_20.parquet (pad-ufes-20?)"]
    with pytest.raises(ValueError, match="are both there: keep one"):
        found["ddi"]()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["cases.parquet", "--suite", "derm"], "give either a manifest, or --table or --suite"),
        (["--table", "make-1", "--suite", "derm"], "give either a manifest, or --table or --suite"),
        (["--suite", "dern"], "Did you mean 'derm'"),
        (["--suite", "derm", "--sets", "nowhere"], "no folder nowhere"),
        (["--table", "make-1", "--sets", "nowhere"], "no folder nowhere: --sets is where the manifests of "),
        (["--suite", "derm", "--terms", "x.json"], "--terms belongs to --table"),
        (["--suite", "derm", "--keep", "x"], "--keep has no effect: --suite derm scores the same cases"),
        (["--suite", "derm", "--root", "x"], "--root belongs to a single manifest"),
        (["--suite", "derm", "--picture", "dermoscopy"], "--picture belongs to a single manifest"),
        (["--suite", "derm", "--protocol", "knn"], "--evaluation.protocols has no effect: --suite derm"),
        (["cases.parquet", "--sets", "x"], "--sets belongs to --table or --suite"),
    ],
)
def test_options_without_effect_stop_before_the_model_is_loaded(arguments, sentence, tmp_path, monkeypatch):
    (tmp_path / "sets").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        run(["nowhere", *arguments])


def test_the_command_measures_goes_on_and_says_what_is_missing(two_models_and_sets, tmp_path, capsys):
    folder = two_models_and_sets
    places = ["--sets", str(folder / "sets"), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    draws = ["--evaluation.n-boot", "5", "--evaluation.seed", "3"]
    command = [str(folder / "seed-0" / "model"), "--suite", "derm", "--name", "first", *draws, *places]
    assert run(command) == 0
    said = capsys.readouterr()
    assert said.out.startswith("# derm, version 1: first\n")
    assert (tmp_path / "out" / "suite.md").read_text() in said.out
    assert "| skincap-retrieval | recall@10 | " in said.out
    assert "- skincap-retrieval: captions name the diagnosis." in said.out
    absent = ", ".join(f"ham10000-{one.protocol}" for one in OURS.sets["ham10000"])
    assert f"- {absent}: missing: dermis import ham10000 FOLDER" in said.out
    assert f"dermis import ham10000 FOLDER --out {folder}/sets/ham10000.parquet" in said.out
    assert "1 cases are in no number: their pictures cannot be opened" in said.out
    assert f"row 21 of {len(OURS.rows)}: pad-ufes-20-prompts\n" not in said.out
    place = [one.name for one in OURS.rows].index("pad-ufes-20-prompts") + 1
    assert f"row {place} of {len(OURS.rows)}: pad-ufes-20-prompts\n" in said.err
    written = json.loads((tmp_path / "out" / "rows" / "pad-ufes-20-prompts.json").read_text())
    assert (written["version"], written["n"], written["unreadable"], written["model"]) == (1, 35, 1, "first")
    assert (written["n_boot"], written["seed"]) == (5, 3)
    assert written["command"] == "dermis evaluate " + " ".join(command)
    assert run(command) == 0
    assert f"row {place} of {len(OURS.rows)}: pad-ufes-20-prompts: measured before\n" in capsys.readouterr().err


def test_a_report_of_another_command_stays_and_one_of_another_model_is_named(lesions, tmp_path, capsys):
    lesions.write(tmp_path / "cases.parquet")
    model = build_image_tower(ImageTowerConfig(name="test_resnet", size=32), pretrained=False)
    for name in ("first", "second"):
        save(tmp_path / name / "model", model)
    out = tmp_path / "out"

    def evaluated(name, *protocols):
        rest = ["--out", str(out), "--cache", str(tmp_path / "cache"), "--evaluation.n-boot", "5", *protocols]
        assert run([str(tmp_path / name / "model"), str(tmp_path / "cases.parquet"), *rest]) == 0
        return capsys.readouterr().out.splitlines()

    said = evaluated("first")
    left_out = "Left out of the default protocols: prompts, retrieval, for the model has no text tower."
    assert said[-2:] == [left_out, f"report: {out}/report.html"]
    assert evaluated("first", "--protocol", "knn")[-1] == f"report: {out}/report.html"
    assert evaluated("second", "--protocol", "knn")[-1].endswith("(in the place of: Evaluation of first)")
    for command, whose in (("dermis train simclr --smoke", "`dermis train`"), ("", "something else than `dermis eval")):
        older = json.dumps({"command": command})
        (out / "report.json").write_text(older)
        with pytest.raises(ValueError, match=f"report.json is of {whose}.*, and would be lost: choose another folder"):
            evaluated("second", "--protocol", "knn")
        assert (out / "report.json").read_text() == older
