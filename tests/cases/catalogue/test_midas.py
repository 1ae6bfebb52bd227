"""MRA-MIDAS with its table in either form: controls, proxies of the label, and names that are not the files'."""

import pandas as pd
import pytest

from dermis.cases.catalogue import import_set

COMMON = {
    "midas_record_id": "s-1", "midas_iscontrol": "no", "midas_distance": "dscope", "midas_location": "L upper back",
    "midas_path": "malignant- bcc", "midas_pathreport": "Basal cell carcinoma, nodular", "midas_gender": "Female",
    "midas_age": "61", "midas_fitzpatrick": "II fair skin, blue eyes", "midas_melanoma": "no",
    "midas_ethnicity": "not Hispanic or Latino", "midas_race": "White", "clinical_impression_1": "7-malignant-bcc",
    "clinical_impression_2": "", "clinical_impression_3": "", "length_(mm)": "5", "width_(mm)": "4.5",
}  # fmt: skip
# midas_path as it is written | our diagnosis | finding.malignancy
PATHOLOGY = [
    ("malignant- bcc", "basal cell carcinoma", "malignant"),
    ("Malignant- Melanoma", "melanoma", "malignant"),
    ("malignant- scc", "squamous cell carcinoma", "malignant"),
    ("malignant- sccis", "squamous cell carcinoma in situ", "malignant"),
    ("malignant- ak", "actinic keratosis", "malignant"),
    ("malignant- other", "other malignant", "malignant"),
    ("benign-melanocytic nevus", "nevus", "benign"),
    ("benign-seborrheic keratosis", "seborrheic keratosis", "benign"),
    ("benign-dermatofibroma", "dermatofibroma", "benign"),
    ("benign-hemangioma", "hemangioma", "benign"),
    ("benign-fibrous papule", "fibrous papule", "benign"),
    ("benign-other", "other benign", "benign"),
    ("other-melanocytic lesion, possible re-excision (severe, spitz, aimp)",
     "melanocytic lesion, possible re-excision", "other"),
    ("melanocytic tumor, possible re-excision (severe, spitz, aimp)", "melanocytic lesion, possible re-excision",
     "other"),
    ("other- non-neoplastic/inflammatory/infectious", "inflammatory or infectious condition", "other"),
    ("0", None, None), ("", None, None),
]  # fmt: skip


def release(folder, rows, name="release_midas.csv", pictures=None):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"midas_file_name": f"s-prd-{i + 1000}.jpg", **COMMON, **row} for i, row in enumerate(rows)]
    table = pd.DataFrame(rows)
    if name.endswith(".xlsx"):
        table.to_excel(folder / name)
    else:
        redivis = {"length_(mm)": "length__mm_", "width_(mm)": "width__mm_"}
        table.rename(columns=redivis).to_csv(folder / name, index_label="_unnamed_var")
    for picture in table["midas_file_name"] if pictures is None else pictures:
        (folder / picture).write_bytes(b"x")
    return folder


def test_the_pathology_is_the_diagnosis_and_its_first_word_the_malignancy(tmp_path):
    table = import_set("midas", release(tmp_path, [{"midas_path": path} for path, *_ in PATHOLOGY])).table
    assert table["diagnosis"].astype(object).where(table["diagnosis"].notna(), None).tolist() == [
        diagnosis for _, diagnosis, _ in PATHOLOGY
    ]
    kinds = table["finding.malignancy"]
    assert kinds.astype(object).where(kinds.notna(), None).tolist() == [kind for *_, kind in PATHOLOGY]


def test_the_tables_of_either_form_say_the_same(tmp_path):
    rows = [{"midas_distance": view, "midas_record_id": f"s-{i}"} for i, view in enumerate(("6in", "1ft", "dscope"))]
    csv = import_set("midas", release(tmp_path / "csv", rows))
    xlsx = import_set("midas", release(tmp_path / "xlsx", rows, "release_midas.xlsx"))
    pd.testing.assert_frame_equal(csv.table, xlsx.table)
    row = csv.table.iloc[0]
    assert (row["lesion.length_mm"], row["lesion.width_mm"], row["patient.age"]) == (5.0, 4.5, 61.0)


def test_columns_of_lesion_and_patient_without_proxies_of_the_label(tmp_path):
    rows = [
        {"midas_distance": "n/a - virtual"},
        {"midas_gender": "", "midas_age": "", "midas_fitzpatrick": "unknown", "midas_race": "unknown"},
        {"midas_fitzpatrick": "VI dark brown or black skin", "midas_distance": "6in"},
    ]
    manifest = import_set("midas", release(tmp_path, rows))
    table = manifest.table
    assert [c for c in table if c.startswith(("lesion.", "patient."))] == [
        "lesion.localization", "lesion.length_mm", "lesion.width_mm", "patient.age", "patient.sex", "patient.race",
        "patient.ethnicity", "patient.fitzpatrick",
    ]  # fmt: skip
    known = table.iloc[0]
    assert (known["skin_tone"], known["patient.fitzpatrick"], known["patient.sex"]) == ("2", 2.0, "female")
    assert known["lesion.localization"] == "l upper back"
    assert table.loc[1, ["skin_tone", "patient.age", "patient.sex", "patient.race"]].isna().all()
    assert table["skin_tone"][2] == "6"
    assert table["modality"].tolist() == ["clinical", "dermoscopic", "clinical"]
    assert table["source"].tolist() == ["midas/virtual", "midas/dscope", "midas/6in"]
    assert manifest.groups().nunique() == 1  # three views of one patient


def test_controls_are_left_out_and_counted(tmp_path):
    rows = [{}, {"midas_iscontrol": "yes", "midas_path": ""}, {"midas_iscontrol": "Yes"}]
    manifest = import_set("midas", release(tmp_path / "some", rows))
    assert manifest.table["case_id"].tolist() == ["s-prd-1000"]
    assert manifest.notes == (
        "3 rows (published: 3416).",
        "2 controls (midas_iscontrol yes) are left out: they have no pathology.",
    )
    with pytest.raises(ValueError, match="all 2 rows of the table of MRA-MIDAS are controls"):
        import_set("midas", release(tmp_path / "all", rows[1:]))


# midas_file_name | the file that is there | the picture of the case
NAMES = [
    ("s-prd-1.jpeg", "s-prd-1.jpg", "s-prd-1.jpg"),
    ("S-PRD-2.JPG", "s-prd-2.jpg", "s-prd-2.jpg"),
    ("s-prd-3-6in.jpg", "s-prd-3.jpg", "s-prd-3.jpg"),
    ("s-prd-4.jpg", "s-prd-4_dscope.jpg", "s-prd-4_dscope.jpg"),
    ("s-prd-5.jpg", "s-prd-5x.jpg", "s-prd-5.jpg"),  # begins two files' names
    ("s-prd-6.jpg", "s-prd-5y.jpg", "s-prd-6.jpg"),
    ("s-prd-7a.jpg", "s-prd-7.jpg", "s-prd-7a.jpg"),  # begins like 7b: which of them is it?
    ("s-prd-7b.jpg", "cover.png", "s-prd-7b.jpg"),
    ("s-prd-8.jpg", "s-prd-81.jpg", "s-prd-8.jpg"),  # the file is that of the control 81
]


def test_names_that_are_not_quite_the_files(tmp_path):
    rows = [{"midas_file_name": name} for name, *_ in NAMES]
    rows.append({"midas_file_name": "s-prd-81.jpg", "midas_iscontrol": "yes"})
    manifest = import_set("midas", release(tmp_path, rows, pictures=[file for _, file, _ in NAMES]))
    assert manifest.table["image"].tolist() == [picture for *_, picture in NAMES]
    assert "2 pictures are found by the beginning of their names (s-prd-3-6in.jpg is s-prd-3.jpg)." in manifest.notes
    assert any("image: 5 of 9 are not under" in note for note in manifest.notes)


def test_unknown_values_and_other_tables_are_refused(tmp_path):
    for column, value, sentence in (
        ("midas_path", "malignant- mcc", "unknown midas_path 'malignant-mcc'"),
        ("midas_distance", "2ft", r"unknown midas_distance '2ft'\. Did you mean '1ft'"),
        ("midas_iscontrol", "maybe", "unknown midas_iscontrol 'maybe'"),
        ("midas_age", "old", "column 'midas_age' should hold numbers; 'old' is none"),
    ):
        with pytest.raises(ValueError, match=sentence):
            import_set("midas", release(tmp_path / column, [{column: value}]))
    (tmp_path / "data.csv").write_text("file_id,file_name,midas_path\n1,a.jpg,x\n")
    with pytest.raises(ValueError, match=r"no table of MRA-MIDAS .* lacks midas_record_id"):
        import_set("midas", tmp_path / "data.csv")
