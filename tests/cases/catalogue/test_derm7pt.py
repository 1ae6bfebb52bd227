"""Derm7pt: the label counts that the literature agrees on, all and test split; both layouts."""

import pytest

from dermis.cases.catalogue import import_set
from dermis.cases.catalogue.derm7pt import DIAGNOSES, FINDINGS

# counts over all 1,011 rows, and over the 395 of the test split as the percentages in the results of SM3's release
# (@ 255038f) imply them; classes in the order of jeremykawahara/derm7pt @ ce43687
ORACLE = {
    "diagnosis": (("basal cell carcinoma", "nevus", "melanoma", "miscellaneous", "seborrheic keratosis"),
                  (42, 575, 252, 97, 45), (16, 219, 101, 40, 19)),
    "finding.pigment_network": (("absent", "typical", "atypical"), (400, 381, 230), (156, 146, 93)),
    "finding.blue_whitish_veil": (("absent", "present"), (816, 195), (320, 75)),
    "finding.vascular_structures": (("absent", "regular", "irregular"), (823, 117, 71), (313, 52, 30)),
    "finding.pigmentation": (("absent", "regular", "irregular"), (588, 118, 305), (223, 48, 124)),
    "finding.streaks": (("absent", "regular", "irregular"), (653, 107, 251), (257, 44, 94)),
    "finding.dots_and_globules": (("absent", "regular", "irregular"), (229, 334, 448), (100, 118, 177)),
    "finding.regression_structures": (("absent", "present"), (758, 253), (289, 106)),
}  # fmt: skip


@pytest.mark.data
def test_the_label_counts_of_all_cases_and_of_the_test_split(shared_data):
    table = import_set("derm7pt", shared_data / "derm7pt_tables").table
    test = table[table["split"] == "test"]
    assert table["split"].value_counts().to_dict() == {"train": 413, "test": 395, "valid": 203}
    for column, (classes, everywhere, in_test) in ORACLE.items():
        assert tuple((table[column] == c).sum() for c in classes) == everywhere, column
        assert tuple((test[column] == c).sum() for c in classes) == in_test, column


@pytest.mark.data
def test_the_tables_own_words_are_there_on_request(shared_data):
    manifest = import_set("derm7pt", shared_data / "derm7pt_tables", grouped=False)
    counts = manifest.table["diagnosis"].value_counts()
    assert (len(counts), counts["clark nevus"], counts["melanoma (less than 0.76 mm)"]) == (20, 399, 102)
    assert manifest.table["finding.regression_structures"].value_counts()["blue areas"] == 116
    assert any("9 cases have a dermoscopic picture in place of the clinical one" in note for note in manifest.notes)


@pytest.mark.parametrize("tables, pictures", [("release_v0/meta", "release_v0/images"), (".", "images")])
def test_both_layouts_and_mixed_case(tmp_path, tables, pictures):
    header = ["case_num", "diagnosis", *FINDINGS, "elevation", "location", "sex", "clinic", "derm", "notes"]
    words = [next(iter(groups.values()))[0] for groups in FINDINGS.values()]
    rows = [
        ["1", "blue nevus", *words, "flat", "head neck", "female", "NEL/NEL025.JPG", "NEL/Nel026.jpg", ""],
        ["2", "melanoma metastasis", *words, "nodular", "back", "male", "NEL/NEL027.JPG", "NEL/Nel028.jpg", ""],
    ]
    for folder in (tables, f"{pictures}/nel"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / tables / "meta.csv").write_text("\n".join(",".join(row) for row in [header, *rows]))
    (tmp_path / tables / "train_indexes.csv").write_text("indexes\n1\n")
    (tmp_path / tables / "valid_indexes.csv").write_text("indexes\n0\n")
    for name in ("NEL025.jpg", "nel026.JPG", "NEL027.jpg", "Nel028.jpg"):
        (tmp_path / pictures / "nel" / name).write_bytes(b"x")
    manifest = import_set("derm7pt", tmp_path)
    assert manifest.notes == ()
    assert manifest.table["dermoscopy"].tolist() == [f"{pictures}/nel/nel026.JPG", f"{pictures}/nel/Nel028.jpg"]
    assert manifest.table["split"].tolist() == ["valid", "train"]  # positions, not case numbers
    assert manifest.table["diagnosis"].tolist() == ["nevus", "melanoma"]


def test_a_split_table_without_positions_is_refused_in_a_sentence(tmp_path):
    header = ["case_num", "diagnosis", *FINDINGS, "elevation", "location", "sex", "clinic", "derm"]
    row = ["1", "melanoma", *[next(iter(groups.values()))[0] for groups in FINDINGS.values()], *"ab", "male", *"cd"]
    (tmp_path / "meta.csv").write_text(",".join(header) + "\n" + ",".join(row) + "\n")
    (tmp_path / "train_indexes.csv").write_text("index\n0\n")
    with pytest.raises(ValueError, match=r"no table of Derm7pt's split .* indexes is needed"):
        import_set("derm7pt", tmp_path)


def test_no_word_stands_in_two_groups():
    for groups in (DIAGNOSES, *FINDINGS.values()):
        words = [word for group in groups.values() for word in group]
        assert len(words) == len(set(words))
