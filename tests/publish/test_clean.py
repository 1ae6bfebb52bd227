"""Nothing of the machine or of a patient travels, and what travels still works."""

import json
import re
from pathlib import Path

import pytest
import yaml

from dermis.decision.stored import read
from dermis.evaluation.report import Report
from dermis.publish.clean import clean_command, clean_recipe, copy_clean, leftovers
from dermis.publish.paths import clean_text, last_name

from .conftest import RECIPE


@pytest.fixture
def clean(folder, tmp_path):
    (tmp_path / "clean").mkdir()
    return tmp_path / "clean", copy_clean(folder, tmp_path / "clean")


def test_no_text_file_says_a_path_of_this_machine_or_whose_home_it_was(clean, folder):
    assert "/home/jdoe" in (folder / "recipe.yaml").read_text()
    texts = {p.name: p.read_text() for p in clean[0].rglob("*") if p.suffix in (".json", ".yaml", ".md", ".txt")}
    assert {"recipe.yaml", "report.json", "decision.json", "dermis.json"} <= set(texts)
    for name, text in texts.items():
        assert not re.search(r"jdoe|/home|/mnt|Users|ISIC_00", text), name
        assert not re.search(r"(?<![\w.:/!])/\w", text.replace("\\/", "/")), name
    assert leftovers(clean[0]) == []


def test_only_files_that_dermis_writes_travel(clean):
    found = {p.relative_to(clean[0]).as_posix() for p in clean[0].rglob("*") if p.is_file()}
    decision = {f"decision/{name}" for name in ("decision.json", "decision.safetensors", "report.json")}
    own = {"model.safetensors", "dermis.json", "open_clip_config.json", "recipe.yaml", "report.json"}
    assert found == own | decision
    assert clean[1] == ["embeddings/x.model", "patients.csv"]


def test_what_is_said_stays_said(clean, report):
    recipe = yaml.safe_load((clean[0] / "recipe.yaml").read_text())
    assert recipe["data"]["manifest"] == "cases.parquet"
    assert recipe["data"]["headings"] == RECIPE["data"]["headings"]
    assert recipe["model"]["image"] == {"name": "open_clip:hf-hub:org/repo", "weights": "local-dir:weights"}
    assert recipe["model"]["text"] == {"name": "hf:bert", "tokenizer": "tokenizer.json"}
    assert recipe["evaluation"] == {"concept_terms": "terms.yaml", "prompt_names": {"nevus": ["mole/naevus"]}}
    assert recipe["training"] == RECIPE["training"]
    found = Report.read(clean[0] / "report.json")
    assert found.command == "dermis train clip_small.yaml --data.manifest=cases.parquet --out x"
    assert [e.value for e in found.entries[2:]] == [e.value for e in report.entries[2:]]
    assert found.sections[0].about == "k = 20. Models: skin/runs/seed-0, b, https://a.org/jd/x, 1/2."
    assert found.bad_pictures == []
    assert found.notes[0] == "Read from cases.parquet; images.zip!/images/a.jpg."
    assert found.notes[1] == "2 pictures could not be read; they are in no number."


def test_a_decision_and_the_weights_are_the_same_bits(clean, folder):
    for name in ("model.safetensors", "decision/decision.safetensors"):
        assert (clean[0] / name).read_bytes() == (folder / name).read_bytes()
    assert read(clean[0]).classes == read(folder).classes


def test_a_vocabulary_is_not_touched_and_settings_beside_it_are(folder, tmp_path):
    vocabulary = '{"model": {"vocab": {"/home": 1}}}'
    (folder / "tokenizer.json").write_text(vocabulary)
    settings = {"name_or_path": "/home/jdoe/bert", "eos_token": "</s>", "pad_token": "/"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    copy_clean(folder, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").read_text() == vocabulary
    found = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert found == settings | {"name_or_path": "bert"}


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("see ~/skin/cases.csv and ~ann/x", "see cases.csv and x"),
        (r"D:\clinic\a.csv, \\server\share\c.csv", "a.csv, c.csv"),
        ("a/b, 3 / 4, </s>, and/or, https://a.org/b", "a/b, 3 / 4, </s>, and/or, https://a.org/b"),
        ("local-dir:/data/m, root=/data", "local-dir:m, root=data"),
        ("(/data/m)", "(m)"),
        ("/home/me/lib/x.so: gone", "x.so: gone"),
        (r"cannot open 'C:\Users\me\x.dll'", "cannot open 'x.dll'"),
        ("no / path", "no / path"),
    ],
)
def test_absolute_paths_in_a_sentence(text, cleaned):
    assert clean_text(text) == cleaned


def test_a_command_with_relative_paths_and_one_that_was_joined_without_quotes():
    assert (
        clean_command("dermis evaluate runs/me/model a/cases.csv --cache ~/c")
        == "dermis evaluate model cases.csv --cache c"
    )
    assert (
        clean_command("dermis train --data.options split=a/b.csv root=x --text 'a = b/c'")
        == "dermis train --data.options split=b.csv root=x --text c"
    )
    assert clean_command("dermis evaluate hf-hub:org/repo x's/a.csv") == "dermis evaluate hf-hub:org/repo a.csv"


def test_the_home_folder_itself_has_no_name_that_may_be_told():
    assert last_name(str(Path.home())) == "."
    assert clean_recipe({"data": {"root": str(Path.home())}}) == {"data": {"root": "."}}


def test_what_cleaning_missed_is_found(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: clip of jdoe\n")
    (tmp_path / "README.md").write_text("Ask jdoe. /srv/x")
    (tmp_path / "report.json").write_text('{"a": [{"C:\\\\jane\\\\x": "x:\\n/b"}]}')
    (tmp_path / "config.json").write_text('{"a": "x:\\n1"}')
    (tmp_path / "tokenizer.json").write_text('{"/home": 1}')
    (tmp_path / "image.onnx").write_bytes(b"..." + str(Path.cwd()).encode())
    assert leftovers(tmp_path) == [
        "README.md: /srv/x", "image.onnx: paths in its nodes", "recipe.yaml: jdoe, the name of your home folder",
        "report.json: C:\\jane\\x",
    ]  # fmt: skip


def test_another_report_is_refused(folder, tmp_path):
    (folder / "report.json").write_text('{"entries": []}')
    with pytest.raises(ValueError, match=r"report\.json of the model is of version None, not 1"):
        copy_clean(folder, tmp_path / "out")
