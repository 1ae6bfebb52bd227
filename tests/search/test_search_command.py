"""`dermis embed` and `dermis search` from files to a table of hits."""

import pandas as pd
import pytest

from dermis.cli import main
from dermis.model import save
from dermis.search.folder import Embeddings


@pytest.fixture
def status_of():
    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        return end.value.code

    return run


def test_from_files_to_hits(tiny, manifest, tmp_path, status_of, capsys):
    model, folder = save(tmp_path / "model", tiny()), tmp_path / "e"
    (manifest.root / "2.png").write_text("no picture")
    assert status_of("embed", model, tmp_path / "cases.parquet", "--out", folder) == 0
    said = capsys.readouterr().out
    assert "left out: c2: it is text" in said
    assert f"9 embeddings of 12 numbers in {folder}; 8 pictures were new" in said
    assert status_of("embed", model, tmp_path / "cases.parquet", "--out", folder) == 0
    assert "0 pictures were new" in capsys.readouterr().out
    assert Embeddings.open(folder).model == str(model)

    picture, hits = manifest.root / "0.png", tmp_path / "out" / "hits.csv"
    conditions = ("--where", "diagnosis=melanoma", "patient.age>=30")
    query = ("--picture", picture, "--text", "melanoma on the back", *conditions, "-k", "2", "--out", hits)
    assert status_of("search", folder, *query) == 0
    said = capsys.readouterr().out
    table = pd.read_csv(hits)
    assert table.columns.tolist() == ["rank", "case_id", "cosine", "diagnosis", "patient_id", "image"]
    assert table["diagnosis"].tolist() == ["melanoma"] * 2
    assert all(case in said for case in table["case_id"])
    assert f"2 hits in {hits}" in said

    query = ("--picture", f"image={picture}", "--model", model, "--leave-out", "patient")
    assert status_of("search", folder, *query) == 0
    said = capsys.readouterr().out
    assert "c4" in said
    assert not {"c0", "c1", "c9"} & set(said.split())
    assert status_of("search", folder, "--case", "c3", "--leave-out", "nothing") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["1", "c3", "1.0000"]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--picture", "a.png", "b.png"], "--picture must be one file; it is a.png b.png"),
        (["--picture", "imag=a.png", "image=b.png"], "unknown picture column 'imag'. Did you mean 'image'?"),
        (["--case", "c1", "--probes", "3"], "--probes has no effect without --index-above"),
        (["--case", "c1", "--out", "hits.txt"], "the hits are a .csv file"),
        (["--case", "c1", "--where", "diagnosis=melanom"], "Did you mean 'melanoma'?"),
        ([], "nothing to search for"),
        (["--text", "melanoma"], "no folder at"),
    ],
)
def test_wrong_input_is_a_sentence(tiny, manifest, tmp_path, status_of, capsys, arguments, sentence):
    from dermis.search.embedding import write_embeddings

    write_embeddings(tmp_path / "e", tiny(), manifest, source="nowhere")
    assert status_of("search", tmp_path / "e", *arguments) == 2
    assert sentence in capsys.readouterr().err
    assert status_of("search", tmp_path / "pictures", *arguments) == 2
