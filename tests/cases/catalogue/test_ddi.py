"""DDI as its portal and the authors' code lay it out: bands, malignancy, and no patients."""

import pandas as pd
import pytest

from dermis.cases.catalogue import import_set

HEADER = ["", "DDI_ID", "DDI_file", "skin_tone", "malignant", "disease"]
ROWS = [
    ["0", "1", "000001.png", "56", "TRUE", "melanoma-in-situ"],
    ["1", "2", "000002.png", "12", "FALSE", "melanocytic-nevi"],
    ["2", "3", "000003.png", "34", "False", "Nodular-Melanoma-(nm)"],
]


def written(folder, header=HEADER, rows=ROWS, name="ddi_metadata.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=header)
    if name.endswith(".xlsx"):
        table.to_excel(folder / name, index=False)
    else:
        table.to_csv(folder / name, index=False, encoding="utf-8-sig")
    for row in rows:
        (folder / "images").mkdir(exist_ok=True)
        (folder / "images" / row[2].replace(".png", ".PNG")).write_bytes(b"x")
    return folder


def test_table_and_pictures_in_the_authors_layout(tmp_path):
    manifest = import_set("ddi", written(tmp_path / "DDI"))
    table = manifest.table
    assert table["case_id"].tolist() == ["000001", "000002", "000003"]
    assert table["image"].tolist() == ["images/000001.PNG", "images/000002.PNG", "images/000003.PNG"]
    assert table["diagnosis"].tolist() == ["melanoma in situ", "melanocytic nevi", "nodular melanoma (nm)"]
    assert table["finding.malignancy"].tolist() == ["malignant", "benign", "benign"]
    assert table["skin_tone"].tolist() == ["5-6", "1-2", "3-4"]
    assert not [c for c in table if c.startswith(("patient", "lesion", "split"))]
    assert manifest.groups().nunique() == 3
    assert manifest.notes == ("3 pictures (published: 656).",)


def test_the_authors_first_column_of_malignancy_and_a_spreadsheet_say_the_same(tmp_path):
    new = import_set("ddi", written(tmp_path / "new")).table
    header = [*HEADER[:4], "malignancy(malig=1)", "disease"]
    rows = [[*row[:3], row[3] + ".0", {"T": "1", "F": "0"}[row[4][0]], row[5]] for row in ROWS]
    old = import_set("ddi", written(tmp_path / "old", header, rows, "map.xlsx")).table
    pd.testing.assert_frame_equal(old, new)


def test_a_whole_table_is_read_without_a_word(tmp_path):
    rows = [[str(i), str(i + 1), f"{i + 1:06}.png", "12", "FALSE", "acrochordon"] for i in range(656)]
    manifest = import_set("ddi", written(tmp_path, rows=rows))
    assert len(manifest) == 656
    assert manifest.notes == ()


def test_unknown_values_and_other_folders_are_refused(tmp_path):
    for name, place, value, sentence in (
        ("tone", 3, "45", "unknown skin tone of DDI '45'"),
        ("kind", 4, "maybe", "unknown malignancy of DDI 'maybe'"),
    ):
        row = ROWS[0].copy()
        row[place] = value
        with pytest.raises(ValueError, match=sentence):
            import_set("ddi", written(tmp_path / name, rows=[row]))
    (tmp_path / "other.csv").write_text("DDI_file,skin_tone\n000001.png,12\n")
    with pytest.raises(ValueError, match=r"no table of DDI .* lacks ddi_id"):
        import_set("ddi", tmp_path / "other.csv")
