"""SkinCAP's two tables: captions, marked rows, pictures that are not included, and where they are from."""

import pandas as pd
import pytest

from dermis.cases.catalogue import import_set

MARK = "Do not consider this image"
F17K = "eb0cbb277ba6b206c5fafc66ab8c46f9"
ROWS = [
    {
        "id": 1, "skincap_file_path": "1.png", "ori_file_path": f"{F17K}.jpg", "disease": "Psoriasis-like",
        "caption_zh": "斑块", "caption_zh_polish": "红色斑块", "remark": "", "source": "fitzpatrick17k",
        "skin_tone": "", "malignant": "", "fitzpatrick_scale": "2.0", "nine_partition_label": "inflammatory",
        "three_partition_label": "non-neoplastic", MARK: 0, "Plaque": 1, "Brown(Hyperpigmentation)": 0,
    },
    {
        "id": 2, "skincap_file_path": "2.png", "ori_file_path": "000655.png", "disease": "melanocytic-nevi",
        "caption_zh": "丘疹", "caption_zh_polish": "棕色丘疹", "remark": "", "source": "ddi", "skin_tone": "56",
        "malignant": "FALSE", "fitzpatrick_scale": "", "nine_partition_label": "", "three_partition_label": "",
        MARK: 1, "Plaque": 0, "Brown(Hyperpigmentation)": 1,
    },
]  # fmt: skip
GPT4 = ["A red plaque, consider psoriasis.", "A brown papule."]
GOOGLE = ["Red plaques on the elbow.", "Brown pimples."]


@pytest.fixture
def snapshot(tmp_path):
    """The repository as it is downloaded: an older .csv, a newer .xlsx with its header in the second row."""
    pd.DataFrame(ROWS).assign(caption_zh_polish_en=GPT4).to_csv(tmp_path / "skincap_v240623.csv", index=False)
    newer = pd.DataFrame(ROWS).drop(columns="caption_zh_polish").assign(caption_en=GOOGLE)
    table = pd.DataFrame([newer.columns, *newer.to_numpy()], columns=[f"SkinCAP {i}" for i in range(newer.shape[1])])
    table.to_excel(tmp_path / "skincap_v240715.xlsx", index=False)
    for name in ("not_include/1.png", "not_include/2.png", "not_include/346.png", "2.png"):
        (tmp_path / "skincap" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "skincap" / name).write_bytes(b"x")
    return tmp_path


def test_captions_of_both_tables(snapshot):
    table = import_set("skincap", snapshot).table
    assert table["caption"].tolist() == GPT4
    assert table["caption_origin"].tolist() == ["given", "given"]
    newer = import_set("skincap", snapshot, caption="caption_en").table
    assert newer["caption"].tolist() == GOOGLE
    pd.testing.assert_frame_equal(newer.drop(columns="caption"), table.drop(columns="caption"))
    assert import_set("skincap", snapshot, caption="caption_zh_polish").table["caption"][0] == "红色斑块"
    with pytest.raises(ValueError, match=r"unknown caption of SkinCAP 'caption_eng'\. Did you mean 'caption_en'"):
        import_set("skincap", snapshot, caption="caption_eng")


def test_what_is_known_of_each_picture(snapshot):
    manifest = import_set("skincap", snapshot)
    first, second = manifest.table.to_dict("records")
    assert (first["diagnosis"], second["diagnosis"]) == ("psoriasis-like", "melanocytic nevi")
    assert (first["origin_id"], second["origin_id"]) == (F17K, "000655")
    assert (first["skin_tone"], second["skin_tone"]) == ("2", "5-6")
    assert (first["source"], second["source"]) == ("skincap/fitzpatrick17k", "skincap/ddi")
    assert (first["finding.three_partition"], second["finding.malignancy"]) == ("non-neoplastic", "benign")
    assert manifest.table["finding.malignancy"].isna().tolist() == [True, False]
    assert not [c for c in manifest.table if c.startswith(("patient", "lesion", "split"))]
    assert not manifest.copies().any()


def test_marked_rows_keep_their_captions_and_lose_their_concepts(snapshot):
    manifest = import_set("skincap", snapshot)
    concepts = ["concept.Plaque", "concept.Brown(Hyperpigmentation)"]
    assert [c for c in manifest.table if c.startswith("concept.")] == concepts
    assert manifest.table.loc[0, concepts].tolist() == [1.0, 0.0]
    assert manifest.table.loc[1, concepts].isna().all()
    assert f'1 rows marked "{MARK}" are without concepts (usable=True leaves them out).' in manifest.notes
    usable = import_set("skincap", snapshot, usable="true")
    assert usable.table["case_id"].tolist() == ["1"]
    assert f'1 rows marked "{MARK}" are left out.' in usable.notes


def test_pictures_that_are_not_included_stand_in_for_none(snapshot):
    manifest = import_set("skincap", snapshot)
    assert manifest.table["image"].tolist() == ["1.png", "skincap/2.png"]
    assert "2 rows (published: 4000)." in manifest.notes
    assert any("image: 1 of 2 are not under" in note for note in manifest.notes)


def test_a_caption_that_no_table_has_and_unknown_values_are_refused(snapshot):
    (snapshot / "skincap_v240715.xlsx").unlink()
    with pytest.raises(
        ValueError, match=r"no table of SkinCAP .* skincap_v240623\.csv comes nearest but lacks caption_en"
    ):
        import_set("skincap", snapshot, caption="caption_en")
    text = (snapshot / "skincap_v240623.csv").read_text(encoding="utf-8")
    (snapshot / "skincap_v240623.csv").write_text(text.replace(",56,FALSE", ",57,FALSE"), encoding="utf-8")
    with pytest.raises(ValueError, match="unknown skin tone of DDI '57'"):
        import_set("skincap", snapshot)
