"""SkinCon's two tables as its page publishes them, with and without the column of unusable pictures."""

import pandas as pd
import pytest

from dermis.cases.catalogue import import_set
from dermis.evaluation.concept_annotation import concept_truth
from dermis.language.concept_terms import terms_of

OF_FITZPATRICK = [
    "Vesicle", "Papule", "Macule", "Plaque", "Abscess", "Pustule", "Bulla", "Patch", "Nodule", "Ulcer", "Crust",
    "Erosion", "Excoriation", "Atrophy", "Exudate", "Purpura/Petechiae", "Fissure", "Induration", "Xerosis",
    "Telangiectasia", "Scale", "Scar", "Friable", "Sclerosis", "Pedunculated", "Exophytic/Fungating",
    "Warty/Papillomatous", "Dome-shaped", "Flat topped", "Brown(Hyperpigmentation)", "Translucent",
    "White(Hypopigmentation)", "Purple", "Yellow", "Black", "Erythema", "Comedo", "Lichenification", "Blue",
    "Umbilicated", "Poikiloderma", "Salmon", "Wheal", "Acuminate", "Burrow", "Gray", "Pigmented", "Cyst",
]  # fmt: skip
OF_DDI = [*OF_FITZPATRICK[1:], OF_FITZPATRICK[0]]  # the tables have the concepts in different orders
A, B, C = "eb0cbb277ba6b206c5fafc66ab8c46f9", "bb3d08781eb23890a9909201deed8c85", "4cb78451164b8f957352b9484c63c7a3"
MARK = "Do not consider this image"
PRESENT = {f"{A}.jpg": {"Nodule", "Erosion"}, f"{B}.jpg": set(OF_FITZPATRICK), f"{C}.jpg": {"Vesicle"}}
PRESENT_DDI = {"000655.png": {"Vesicle", "Black"}, "000109.png": {"Papule"}}


def table(path, concepts, present, marked=None):
    rows = [{"ImageID": name, **{c: int(c in found) for c in concepts}} for name, found in present.items()]
    written = pd.DataFrame(rows)
    if marked is not None:
        written[MARK] = written["ImageID"].isin(marked).astype(int)
    written.to_csv(path)


@pytest.fixture
def both(tmp_path):
    table(tmp_path / "annotations_fitzpatrick17k.csv", OF_FITZPATRICK, PRESENT, {f"{B}.jpg"})
    table(tmp_path / "annotations_ddi.csv", OF_DDI, PRESENT_DDI, set())
    for name in (f"finalfitz17k/{A}.jpg", f"finalfitz17k/{C}.jpg", "DDI/images/000655.png", "DDI/images/000109.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_concepts_are_those_of_the_header_whatever_its_order(both):
    manifest = import_set("skincon", both)
    cases = manifest.table.set_index("case_id")
    concepts = [c for c in cases if c.startswith("concept.")]
    assert {c.removeprefix("concept.") for c in concepts} == set(OF_FITZPATRICK)
    assert len(concepts) == 48
    for name, found in {f"{A}.jpg": PRESENT[f"{A}.jpg"], **PRESENT_DDI}.items():
        row = cases.loc[name.split(".")[0], concepts]
        assert {c.removeprefix("concept.") for c in row[row == 1].index} == found
        assert set(row) == {0.0, 1.0}
    assert cases["image"]["000655"] == "DDI/images/000655.png"
    assert cases["source"].to_dict() == {
        A: "skincon/fitzpatrick17k", C: "skincon/fitzpatrick17k", "000109": "skincon/ddi", "000655": "skincon/ddi",
    }  # fmt: skip
    assert len(terms_of(concept_truth(manifest))) == 48


def test_unusable_pictures_are_left_out_and_counted(both):
    manifest = import_set("skincon", both)
    assert B not in set(manifest.table["case_id"])
    assert f'1 rows marked "{MARK}" are left out.' in manifest.notes
    assert not any(MARK in column for column in manifest.table)
    assert any("fitzpatrick17k 2 (published: 3230), ddi 2 (published: 636)" in note for note in manifest.notes)


def test_tables_of_2022_came_without_the_column_and_the_rows(tmp_path):
    table(tmp_path / "a.csv", OF_FITZPATRICK, {f"{i:032x}.jpg": {"Scale"} for i in range(3230)})
    table(tmp_path / "b.csv", OF_DDI, {f"{i:06}.png": {"Scale"} for i in range(636)})
    manifest = import_set("skincon", tmp_path)
    assert len(manifest) == 3866
    assert [note for note in manifest.notes if not note.startswith("image:")] == []


def test_one_of_the_two_sets_is_read_alone(both):
    assert import_set("skincon", both, part="ddi").table["case_id"].tolist() == ["000655", "000109"]
    of_fitzpatrick = import_set("skincon", both, part="fitzpatrick17k")
    assert of_fitzpatrick.table["case_id"].tolist() == [A, C]
    with pytest.raises(ValueError, match=r"unknown part 'fitzpatrick'\. Did you mean 'fitzpatrick17k'"):
        import_set("skincon", both, part="fitzpatrick")
    (both / "annotations_ddi.csv").unlink()
    with pytest.raises(ValueError, match="no row of the tables of SkinCon is from ddi"):
        import_set("skincon", both, part="ddi")


def test_the_tables_of_both_sets_add_diagnosis_and_skin_tone(both):
    assert "diagnosis" not in import_set("skincon", both).table
    (both / "ddi_metadata.csv").write_text(
        ",DDI_ID,DDI_file,skin_tone,malignant,disease\n0,655,000655.png,56,TRUE,melanoma\n1,1,000001.png,12,FALSE,wart\n"
    )
    header = "md5hash,fitzpatrick_scale,label,nine_partition_label,three_partition_label,url\n"
    (both / "fitzpatrick17k.csv").write_text(f"{header}{A},2,psoriasis,inflammatory,non-neoplastic,http://x.com/a\n")
    cases = import_set("skincon", both).table.set_index("case_id")
    columns = ["diagnosis", "skin_tone", "finding.malignancy", "finding.three_partition"]
    assert cases.loc["000655", columns[:3]].tolist() == ["melanoma", "5-6", "malignant"]
    assert cases.loc[A, [*columns[:2], columns[3]]].tolist() == ["psoriasis", "2", "non-neoplastic"]
    assert cases.loc[[C, "000109"], columns].isna().all(axis=None)
    assert len(cases) == 4


def test_another_table_is_refused(tmp_path):
    (tmp_path / "meta.csv").write_text("ImageID,Papule,Plaque\na.jpg,1,0\n")
    with pytest.raises(ValueError, match=r"no table of SkinCon .* lacks nodule, erythema"):
        import_set("skincon", tmp_path)
    table(tmp_path / "meta.csv", OF_DDI, {"000001.png": {"Papule"}})
    text = (tmp_path / "meta.csv").read_text().replace("\n0,000001.png,1", "\n0,000001.png,yes")
    (tmp_path / "meta.csv").write_text(text)
    with pytest.raises(ValueError, match="column 'Papule' should hold numbers; 'yes' is none"):
        import_set("skincon", tmp_path)
