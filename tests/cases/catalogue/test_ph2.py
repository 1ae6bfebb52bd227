"""PH² with its text table and its sheet, which say the same in different ways among other lines."""

import numpy as np
import pandas as pd
import pytest

from dermis.cases.catalogue import import_set

TEXT = """\
||   Name ||   Histological Diagnosis || Clinical Diagnosis || Asymmetry | Pigment Network | Dots/Globules | Streaks \
| Regression Areas | Blue-Whitish Veil ||             Colors ||
|| IMD003 ||                          ||                  0 ||         0 |               T |             A |       A \
|                A |                 A ||                  4 ||
|| IMD002 ||                          ||                  1 ||         1 |               T |             T |       A \
|                A |                 A ||               3  4 ||
|| IMD058 ||  Melanoma in situ        ||                  2 ||         2 |              AT |            AT |       P \
|                P |                 P ||         1  4  5  6 ||


Legends for the Clinical Diagnosis:
	0 - Common Nevus;
	1 - Atypical Nevus;
Legends for the Pigment Network, Dots/Globules, Streaks, Regression Areas, and Blue-Whitish Veil:
	A  - Absent;
"""
HEAD = [
    "Image Name", "Histological Diagnosis", "Common Nevus", "Atypical Nevus", "Melanoma", "Asymmetry\n(0/1/2)",
    "Pigment Network\n(AT/T)", "Dots/Globules\n(A/AT/T)", "Streaks\n(A/P)", "Regression Areas\n(A/P)",
    "Blue-Whitish Veil\n(A/P)", "White", "Red", "Light-Brown", "Dark-Brown", "Blue-Gray", "Black",
]  # fmt: skip
SHEET = [
    ["IMD003", None, "X", None, None, 0, "T", "A", "A", "A", "A", None, None, None, "X", None, None],
    ["IMD002", None, None, "X", None, 1, "T", "T", "A", "A", "A", None, None, "X", "X", None, None],
    ["IMD058", "Melanoma in situ", None, None, "X", 2, "AT", "AT", "P", "P", "P", "X", None, None, "X", "X", "X"],
]


def tree(root, *names):
    for name in names:
        folder = root / "PH2Dataset" / "PH2 Dataset images" / name
        for kind, picture in (("Dermoscopic_Image", name), ("lesion", f"{name}_lesion"), ("roi", f"{name}_R1_Label4")):
            (folder / f"{name}_{kind}").mkdir(parents=True)
            (folder / f"{name}_{kind}" / f"{picture}.bmp").write_bytes(b"x")
    (root / "PH2Dataset" / "Readme.txt").write_text("PH2 database\n")
    return root


def sheet(path, rows=SHEET):
    """Twelve lines of legends, one of them of merged cells, then the table, as the release has it; and a last line."""
    above = [[None] * len(HEAD) for _ in range(12)]
    above[0][0], above[11][2], above[11][11] = "Legends", "Clinical Diagnosis", "Colors"
    pd.DataFrame([*above, HEAD, *rows, ["Total", *[1] * 16]]).to_excel(path, header=False, index=False)


@pytest.fixture(params=["txt", "xlsx", "csv"])
def release(tmp_path, request):
    tree(tmp_path, "IMD002", "IMD003", "IMD058")
    if request.param == "txt":
        (tmp_path / "PH2Dataset" / "PH2_dataset.txt").write_text(TEXT)
    else:
        pytest.importorskip("openpyxl")
        sheet(tmp_path / "PH2_dataset.xlsx")
        if request.param == "csv":  # as who has no openpyxl saves it
            pd.read_excel(tmp_path / "PH2_dataset.xlsx", header=None).to_csv(
                tmp_path / "PH2_dataset.csv", header=False, index=False
            )
            (tmp_path / "PH2_dataset.xlsx").unlink()
    return tmp_path


def test_text_and_sheet_say_the_same(release):
    manifest = import_set("ph2", release)
    table = manifest.table.set_index("case_id")
    assert table["diagnosis"].to_dict() == {
        "IMD003": "common nevus", "IMD002": "atypical nevus", "IMD058": "melanoma",
    }  # fmt: skip
    place = "PH2Dataset/PH2 Dataset images/IMD058/IMD058"
    assert table["image"]["IMD058"] == f"{place}_Dermoscopic_Image/IMD058.bmp"
    assert table["mask"]["IMD058"] == f"{place}_lesion/IMD058_lesion.bmp"
    findings = [c for c in table if c.startswith("finding.")]
    assert findings == [
        "finding.asymmetry", "finding.pigment_network", "finding.dots_and_globules", "finding.streaks",
        "finding.regression_structures", "finding.blue_whitish_veil",
    ]  # fmt: skip
    assert table.loc["IMD003", findings].tolist() == ["symmetric", "typical", "absent", "absent", "absent", "absent"]
    assert table.loc["IMD002", findings].tolist()[:3] == ["in one axis", "typical", "typical"]
    assert table.loc["IMD058", findings].tolist() == [
        "in both axes", "atypical", "atypical", "present", "present", "present",
    ]  # fmt: skip
    colours = table[[c for c in table if c.startswith("concept.")]]
    assert [c.removeprefix("concept.") for c in colours] == [
        "white", "red", "light_brown", "dark_brown", "blue_gray", "black",
    ]  # fmt: skip
    np.testing.assert_array_equal(colours, [[0, 0, 0, 1, 0, 0], [0, 0, 1, 1, 0, 0], [1, 0, 0, 1, 1, 1]])
    assert set(table["modality"]) == {"dermoscopic"}
    assert manifest.groups().nunique() == 3
    assert not [c for c in table if "histological" in c.casefold()]
    (note,) = manifest.notes
    assert note == (
        "pictures are not as many as published: common nevus 1 (published: 80), atypical nevus 1 (published: 80), "
        "melanoma 1 (published: 40)."
    )


def test_the_whole_table_has_the_published_counts(tmp_path):
    row = TEXT.splitlines()[1]
    names = [f"IMD{i:03}" for i in range(200)]
    kinds = ["0"] * 80 + ["1"] * 80 + ["2"] * 40
    rows = [
        row.replace("IMD003", n).replace("||                  0", f"||  {k}") for n, k in zip(names, kinds, strict=True)
    ]
    (tmp_path / "PH2_dataset.txt").write_text("\n".join([TEXT.splitlines()[0], *rows]))
    manifest = import_set("ph2", tmp_path)
    assert [note for note in manifest.notes if "published" in note] == []
    assert manifest.table["image"][0] == "PH2 Dataset images/IMD000/IMD000_Dermoscopic_Image/IMD000.bmp"
    assert any("image: 200 of 200 are not under" in note for note in manifest.notes)


def test_what_is_not_ph2_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="no table of PH² under"):
        import_set("ph2", tmp_path)
    for text, sentence in (
        ("no table\n", "no line of it has a column Name or Image Name"),
        ("|| Name || Clinical Diagnosis ||\n|| IMD003 || 0 ||\n", "it lacks asymmetry, pigment network"),
        (TEXT.replace("||                  2 ||", "||                  3 ||"), "unknown diagnosis of PH² '3'"),
        (TEXT.replace("      AT |", "       X |"), "unknown pigment network of PH² 'X'"),
    ):
        (tmp_path / "PH2_dataset.txt").write_text(text)
        with pytest.raises(ValueError, match=sentence):
            import_set("ph2", tmp_path)


def test_a_row_of_the_sheet_has_one_diagnosis(tmp_path):
    pytest.importorskip("openpyxl")
    sheet(tmp_path / "PH2_dataset.xlsx", [SHEET[0], [*SHEET[1][:4], "X", *SHEET[1][5:]]])
    with pytest.raises(ValueError, match="IMD002 has not one cross for its diagnosis"):
        import_set("ph2", tmp_path)
