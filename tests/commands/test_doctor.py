"""`dermis doctor`: what it prints, its JSON, its exit status, and what it refuses."""

import json

import pytest

import dermis
from dermis.cli import main
from dermis.doctor import installed
from dermis.doctor.note import Note


def status_of(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("somebody")
    dermis.make_cases(folder, patients=30, size=48, seed=5)
    return folder / "cases.parquet"


def without(monkeypatch, *modules: str) -> None:
    there = installed.util.find_spec
    monkeypatch.setattr(installed.util, "find_spec", lambda name: None if name in modules else there(name))


def test_a_missing_extra_is_told_with_what_needs_it_and_its_pip_line(monkeypatch, capsys):
    without(monkeypatch, "faiss", "onnxruntime")
    assert status_of(["doctor"]) == 0
    said = capsys.readouterr().out
    heading, rest = said.split("everything else works\n")
    assert heading.endswith("only needed for this; ")
    missing = rest.split("Extras that are installed")[0]
    assert "dermis search --index-above" in missing
    assert "pip install 'dermis[search]'   (brings faiss-cpu)" in missing
    assert "pip install 'dermis[export]'   (brings onnxruntime)" in missing
    assert "dermis[track]" not in missing


def test_what_is_broken_sets_the_exit_status(monkeypatch, capsys):
    broken = [Note("broken", "torch is missing: pip install torch.")]
    monkeypatch.setattr("dermis.doctor.report.package_notes", lambda: broken)
    assert status_of(["doctor"]) == 1
    assert "broken   torch is missing" in capsys.readouterr().out


def test_a_torch_that_does_not_load_leaves_the_rest_of_the_report(monkeypatch, capsys):
    monkeypatch.setattr("dermis.doctor.report.trouble", lambda module: "ImportError: no")
    assert status_of(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "processors" in said
    assert "What training computes with" not in said


SCHEMA = {
    "dermis": str, "python": str, "system": str, "packages": dict, "extras": dict, "machine": dict, "threads": int,
    "gpus": list, "features": list, "notes": list, "status": int,
}  # fmt: skip
MACHINE = {"processors", "affinity", "usable", "quota", "memory", "memory_limit", "shared", "shared_free", "load"}
RATES = {
    "reading", "decoding", "alone", "step", "workers", "loading", "wanted", "processors", "on_gpu", "frozen", "unit"
}  # fmt: skip


def test_json_for_a_bug_report(capsys):
    assert status_of(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: type(value) for name, value in found.items()} == SCHEMA
    assert found["machine"].keys() == MACHINE
    assert found["packages"].keys() == installed.required().keys()
    assert found["extras"].keys() == installed.EXTRAS.keys()
    assert all(feature.keys() == {"name", "used", "why"} for feature in found["features"])
    assert all(note.keys() == {"level", "sentence"} for note in found["notes"])


def test_a_measurement_as_json_names_no_file(cases, capsys):
    arguments = ["doctor", str(cases), "simclr", "--smoke", "--seconds", "0.1", "--json"]
    assert status_of(arguments) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert {name: type(value) for name, value in found.items()} == SCHEMA | {"bottleneck": dict}
    measured = found["bottleneck"]
    assert measured.keys() == {
        "rates", "method", "stage", "cases", "batch_size", "step_cases", "unreadable", "verdict"
    }  # fmt: skip
    assert measured["rates"].keys() == RATES
    assert measured["verdict"].keys() == {"bottleneck", "sentence", "tries"}
    assert measured["method"] == "simclr"
    for name in (str(cases.parent), "somebody", "cases.parquet", ".jpg"):
        assert name not in out
    assert "measuring: decoding" in err


def test_a_measurement_as_text_ends_in_a_verdict(cases, capsys):
    assert status_of(["doctor", str(cases), "--method=simclr", "--smoke", "--seconds=0.1"]) == 0
    said = capsys.readouterr().out
    assert "Pictures a second: simclr" in said
    for stage in ("reading bytes", "decoding", "whole loader, no workers", "training step"):
        assert stage in said
    assert "bottleneck" in said or "level" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["cases.parquet", "simclr", "--method", "clip"], "give simclr or --method clip, not both"),
        (["cases.parquet", "--method", "clp"], "Did you mean 'clip'"),
        (["cases.parquet", "simclt"], "Did you mean 'simclr'"),
        (["cases.parquet", "simclr", "clip_small"], "at most one RECIPE"),
        (["--training.workers", "2"], "MANIFEST and at most one RECIPE come before the settings, not nothing"),
        (["--seconds", "2"], "come before the settings, not nothing"),
        (["cases.parquet", "simclr", "--seconds", "0"], "--seconds must be more than 0, not 0"),
        (["cases.parquet", "simclr", "--seconds", "soon"], "--seconds must be a number, not 'soon'"),
        (["cases.parquet", "simclr", "--data.manifest", "other.csv"], "--data.manifest has no effect here"),
        (["cases.parquet", "simclr", "--seconds"], "--seconds needs a value"),
        (["nowhere.parquet", "simclr", "--seconds", "1"], "no manifest at nowhere.parquet"),
    ],
)
def test_wrong_input_is_a_sentence(arguments, sentence, capsys):
    assert status_of(["doctor", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_help_needs_nothing(capsys):
    assert status_of(["doctor", "--help"]) == 0
    assert "usage: dermis doctor" in capsys.readouterr().out
