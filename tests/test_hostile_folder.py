"""A hostile folder and hostile tables on the command line: a sentence each, nothing lost, no traceback."""

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermis.cases.manifest import Manifest
from dermis.cli import main
from dermis.evaluation.report import Report

GOOD = ("plain.jpg", "cmyk.jpg", "deep.png", "palette.png", "animated.gif", "turned.jpg", "UPPER.JPEG", "web.webp")
BAD = ("truncated.jpg", "empty.jpg", "one_pixel.png", "text.jpg", "huge.png")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """13 files, 5 of which cannot be pictures, and a table of them with a BOM, semicolons and mixed-case names."""
    folder = tmp_path_factory.mktemp("hostile")
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(cv2.resize(coarse, (120, 90), interpolation=cv2.INTER_CUBIC))
    picture.save(folder / "plain.jpg")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    cv2.imwrite(str(folder / "deep.png"), np.asarray(picture).astype(np.uint16) * 257)
    picture.quantize(32).save(folder / "palette.png", transparency=3)
    picture.save(folder / "animated.gif", save_all=True, append_images=[picture.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=exif)
    picture.save(folder / "UPPER.JPEG")
    picture.save(folder / "web.webp")
    (folder / "truncated.jpg").write_bytes((folder / "plain.jpg").read_bytes()[:900])
    (folder / "empty.jpg").write_bytes(b"")
    picture.resize((1, 1)).save(folder / "one_pixel.png")
    (folder / "text.jpg").write_text("this is no picture")
    header = bytearray((folder / "palette.png").read_bytes())
    header[16:24] = (40000).to_bytes(4, "big") * 2
    (folder / "huge.png").write_bytes(header)

    names = [*GOOD, *BAD]
    asked = {"UPPER.JPEG": "upper.jpeg"}
    table = pd.DataFrame(
        {
            "Bild": [asked.get(name, name) for name in names],
            "Nummer": [f"{i:03d}" for i in range(len(names))],
            "Text": [f"A lesion,\nnumber {i}." for i in range(len(names))],
            "Dx": ["nevus", "melanoma"] * 6 + ["nevus"],
        }
    )
    table.to_csv(folder / "cases.csv", sep=";", index=False, encoding="utf-8-sig")
    return folder


def status_of(arguments):
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return end.value.code


def imported(hostile, out):
    columns = "case_id=Nummer, image=Bild, caption=Text, diagnosis=Dx"
    return status_of(["import", "csv", hostile / "cases.csv", "--out", out, "--options", "columns", columns])


def test_every_row_arrives_and_every_bad_picture_is_named(hostile, tmp_path, capsys):
    assert imported(hostile, tmp_path / "cases.parquet") == 0
    manifest = Manifest.read(tmp_path / "cases.parquet")
    assert manifest.table["case_id"].tolist() == [f"{i:03d}" for i in range(13)]
    assert manifest.table["caption"][4] == "A lesion,\nnumber 4."
    capsys.readouterr()
    assert status_of(["check", tmp_path / "cases.parquet", "--everything"]) == 1
    said = capsys.readouterr().out
    assert all(name in said for name in BAD)


def test_training_goes_on_and_the_report_counts_the_bad_pictures(hostile, tmp_path):
    out = tmp_path / "cases.parquet"
    assert imported(hostile, out) == 0
    manifest = Manifest.read(out)
    # enough copies to fill batches; the bad ones are in every split
    table = pd.concat([manifest.table.assign(case_id=manifest.table["case_id"] + f"-{i}") for i in range(6)])
    table["split"] = ["train"] * 52 + ["valid"] * 13 + ["test"] * 13
    Manifest.build(table, manifest.root).write(out)
    command = ["train", "demo", "--smoke", "--out", tmp_path / "run", "--data.manifest", out]
    assert status_of([*command, "--data.cache", tmp_path / "cache"]) == 0
    report = Report.read(tmp_path / "run" / "report" / "report.json")
    assert len(report.bad_pictures) == len(BAD)
    assert any("training pictures could not be opened and were replaced" in note for note in report.notes)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "empty"),
        ("case_id,image\n1,a.jpg\n1,b.jpg\n", "'1'"),
        ("case_id,image,diagnosys\n1,a.jpg,nevus\n", "'diagnosis'"),
        ("case_id~image\n1~a.jpg\n", "image"),
        ("id,picture\n1,a.jpg\n", "case_id"),
    ],
)
def test_a_hostile_table_is_refused_in_a_sentence(tmp_path, capsys, text, sentence):
    (tmp_path / "cases.csv").write_text(text)
    assert status_of(["check", tmp_path / "cases.csv"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("dermis check: ")
    assert sentence in said
