"""Manifests as MAKE's and Derm1M's tables, and back through the readers of those sets."""

import ast
import csv

import pandas as pd
import pytest

from dermis.cases.catalogue import import_set
from dermis.cases.derm1m_csv import write_derm1m_csv
from dermis.cases.make_csv import write_make_csv
from dermis.cases.manifest import Manifest
from dermis.commands import export

COLUMNS = (
    "case_id", "image", "caption", "disease_text", "concept_text", "diagnosis", "lesion.localization", "patient.age",
    "patient.sex",
)  # fmt: skip


@pytest.fixture
def manifest(tmp_path):
    table = pd.DataFrame({
        "case_id": ["a/1.jpg", "2.jpg", "3.jpg"],
        "image": ["a/1.jpg", "2.jpg", "3.jpg"],
        "caption": ['A plaque, "scaly". It itches.', "A papule.", None],
        "disease_text": ["This is a skin photo diagnosed as inflammatory, psoriasis.", None, None],
        "concept_text": ["This skin photo shows plaque, scale.", "This skin photo shows papule.", None],
        "sentences": [[f"Sentence {k}." for k in range(10)], None, None],
        "diagnosis": ["psoriasis", None, None],
        "lesion.localization": ["elbow", None, None],
        "lesion.symptoms": ["itching", None, None],
        "patient.age": [45.0, 0.5, None],
        "patient.sex": ["female", None, "male"],
    })  # fmt: skip
    for name in table["image"]:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"x")
    return Manifest.build(table, tmp_path / "set")


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def same(ours, theirs, columns):
    for column in columns:
        values = [[None if pd.isna(v) else v for v in m.table[column]] for m in (ours, theirs)]
        assert values[0] == values[1], column


def test_makes_table_cell_by_cell(manifest, tmp_path):
    notes = write_make_csv(manifest, tmp_path / "make.csv")
    assert notes == ["1 cases have more than eight sentences; the first eight were written."]
    first, second, third = rows_of(tmp_path / "make.csv")
    assert list(first)[:6] == [
        "filename", "caption", "truncated_caption", "visual_concept_caption", "ontology_caption", "sub_captions",
    ]  # fmt: skip
    assert (first["filename"], first["truncated_caption"]) == ("a/1.jpg", 'A plaque, "scaly". It itches.')
    assert [ast.literal_eval(row["knowledge_masks"]) for row in (first, second, third)] == [
        [1, 1, 1], [1, 0, 1], [0, 0, 0],
    ]  # fmt: skip  # raw, ontology, visual
    assert [row["sub_captions"] for row in (first, second, third)] == ["8", "0", "0"]
    assert ast.literal_eval(first["sub_caption_mask"]) == [1] * 8
    assert ast.literal_eval(second["sub_caption_mask"]) == [0] * 8
    assert (first["subcaption_8"], second["subcaption_1"], second["ontology_caption"]) == ("Sentence 7.", "", "")


def test_makes_table_comes_back_through_its_reader(manifest, tmp_path):
    write_make_csv(manifest, tmp_path / "set" / "make.csv")
    back = import_set("make", tmp_path / "set")
    same(manifest, back, COLUMNS)
    assert back.table["sentences"][0] == manifest.table["sentences"][0][:8]


def test_derm1ms_table_has_its_sentinels_and_comes_back_through_its_reader(manifest, tmp_path):
    assert write_derm1m_csv(manifest, tmp_path / "set" / "Derm1M_v2_pretrain.csv") == []
    first, second, third = rows_of(tmp_path / "set" / "Derm1M_v2_pretrain.csv")
    assert first["hierarchical_disease_label"] == "inflammatory, psoriasis"
    assert (first["skin_concept"], first["symptoms"], first["age"]) == ("plaque, scale", "itching", "45")
    assert [third[c] for c in ("disease_label", "skin_concept", "body_location", "symptoms", "age")] == [
        "No definitive diagnosis", "No visual concepts", "No body location information", "No symptom information",
        "No age information",
    ]  # fmt: skip
    assert second["gender"] == "No gender information"
    same(manifest, import_set("derm1m", tmp_path / "set"), COLUMNS)


def test_other_wordings_are_counted_not_guessed(manifest, tmp_path):
    table = manifest.table.assign(concept_text="plaque and scale", diagnosis=None)
    notes = write_derm1m_csv(Manifest.build(table, manifest.root), tmp_path / "d.csv")
    assert notes == ["3 cells of concept_text are worded otherwise and were left out."]
    assert [row["disease_label"] for row in rows_of(tmp_path / "d.csv")] == [
        "psoriasis",
        *["No definitive diagnosis"] * 2,
    ]


@pytest.mark.parametrize("write", [write_make_csv, write_derm1m_csv])
def test_pictures_in_archives_are_refused(manifest, tmp_path, write):
    packed = Manifest.build(manifest.table.assign(image=["x.zip!/1.jpg", "2.jpg", "3.jpg"]), manifest.root)
    with pytest.raises(ValueError, match=r"'x\.zip!/1\.jpg' lies inside an archive"):
        write(packed, tmp_path / "out.csv")
    write(packed, tmp_path / "out.csv", filename="case_id")
    assert rows_of(tmp_path / "out.csv")[0]["filename"] == "a/1.jpg"


def test_the_command(manifest, tmp_path, capsys):
    path = manifest.write(tmp_path / "cases.parquet")
    assert export.run([str(path), str(tmp_path / "d.csv"), "--format", "derm1m"]) == 0
    assert "skin_concept" in rows_of(tmp_path / "d.csv")[0]
    assert "3 cases in" in capsys.readouterr().out
