"""Sets with texts: Derm1M v2 and MAKE's training table, in their documented layouts."""

import csv
import zipfile

import pytest

from dermis.cases.catalogue import import_set
from dermis.cases.catalogue.derm1m import origin, years

DERM1M = (
    "filename", "caption", "truncated_caption", "source", "source_type", "disease_label", "hierarchical_disease_label",
    "skin_concept", "body_location", "symptoms", "age", "gender",
)  # fmt: skip
FULL = (
    "youtube/abc_frame_12.jpg", "A red plaque of 0.5 mm. It itches, e.g. at night. Seen for years.",
    "A red plaque of 0.5 mm. It itches, e.g. at night.", "youtube", "edu", "Psoriasis", "inflammatory, psoriasis",
    "erythema, plaque", "elbow", "itching", "45 years", "Female",
)  # fmt: skip
EMPTY = (
    "pubmed/PMC123_fig1.png", "nan", "", "pubmed_english", "knowledge", "No definitive diagnosis",
    "No definitive diagnosis",
    "No visual concepts", "No body location information", "No symptom information", "No age information",
    "No gender information",
)  # fmt: skip


def write(path, header, *rows):
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def derm1m(tmp_path):
    write(tmp_path / "Derm1M_v2_pretrain.csv", DERM1M, FULL, EMPTY)
    write(tmp_path / "Derm1M_v2_validation.csv", DERM1M, ("validation_data/v.jpg", "One sentence.", *FULL[2:]))
    write(tmp_path / "concept.csv", ("filename", "concept"), ("youtube/abc_frame_12.jpg", "plaque"))
    with zipfile.ZipFile(tmp_path / "youtube.zip", "w") as archive:
        archive.writestr("abc_frame_12.jpg", b"x")
    with zipfile.ZipFile(tmp_path / "pubmed.zip", "w") as archive:
        archive.writestr("pubmed/PMC123_fig1.png", b"x")
    return tmp_path


def test_derm1m_texts_and_their_kinds(derm1m):
    manifest = import_set("derm1m", derm1m)
    row = manifest.table.iloc[0]
    assert row["caption"] == FULL[2]
    assert list(row["sentences"]) == ["A red plaque of 0.5 mm.", "It itches, e.g. at night."]
    assert row["disease_text"] == "This is a skin photo diagnosed as inflammatory, psoriasis."
    assert row["concept_text"] == "This skin photo shows erythema, plaque."
    assert (row["diagnosis"], row["lesion.localization"], row["patient.age"], row["patient.sex"]) == (
        "psoriasis", "elbow", 45.0, "female",
    )  # fmt: skip
    assert row[["caption_origin", "disease_text_origin"]].tolist() == ["given", "narrated"]
    assert import_set("derm1m", derm1m, caption="caption").table["caption"][0] == FULL[1]
    with pytest.raises(ValueError, match="caption='short': allowed are truncated_caption and caption"):
        import_set("derm1m", derm1m, caption="short")


def test_derm1m_sentinel_sentences_are_null(derm1m):
    manifest = import_set("derm1m", derm1m)
    told = ["caption", "disease_text", "concept_text", "diagnosis", "lesion.localization", "patient.age", "patient.sex"]
    assert manifest.table.loc[1, [*told, "sentences", "caption_origin", "disease_text_origin"]].isna().all()


def test_derm1m_splits_origins_and_packed_pictures(derm1m):
    manifest = import_set("derm1m", derm1m)
    assert manifest.table["split"].tolist() == ["train", "train", "valid"]
    assert manifest.table["origin_id"].tolist() == ["youtube/abc", "PMC123", "validation_data/v"]
    assert manifest.table["image"].tolist() == [
        "youtube.zip!/abc_frame_12.jpg", "pubmed.zip!/pubmed/PMC123_fig1.png", "validation_data/v.jpg",
    ]  # fmt: skip
    assert any("image: 1 of 3" in note for note in manifest.notes)


def test_frames_of_one_video_and_pictures_of_one_forum_case_are_one_origin():
    assert origin("youtube/a_b_frame_1.jpg") == origin("youtube/a_b_frame_20.jpg") != origin("youtube/a_c_frame_1.jpg")
    assert origin("IIYI/100_1.jpg") == origin("IIYI/100_2.jpg") != origin("IIYI/101_1.jpg")
    assert origin("pubmed/x_PMC12_f1.jpg") == origin("pubmed/y_pmc12_f2_sub1.jpg")
    assert origin("reddit/100_1.jpg") != origin("reddit/100_2.jpg")


@pytest.mark.parametrize("text, age", [
    ("45", 45), ("45 years", 45), ("45-year-old", 45), ("6 months", 0.5), ("6-month-old", 0.5), ("3 weeks old", 3 / 52),
    ("45y", 45), ("adult", None), ("30s", None), ("20 to 40", None), ("45 kg", None), (None, None),
])  # fmt: skip
def test_ages_in_words(text, age):
    assert years(text) == (None if age is None else pytest.approx(age))


SUBS = [f"subcaption_{k}" for k in range(1, 9)]
MAKE = (
    "filename", "caption", "truncated_caption", "source", "standardized_disease", "body_location", "age", "gender",
    "visual_concept_caption", "ontology_caption", "sub_captions", *SUBS, "sub_caption_mask", "knowledge_masks",
)  # fmt: skip


def make_row(name, caption, ontology, visual, subs, mask, knowledge):
    subs = [*subs, *[""] * (8 - len(subs))]
    facts = ("textbook_english", "psoriasis", "No body location information", "No age information", "male")
    return (f"/VL_Data/textbook/{name}.png", caption, caption, *facts, visual, ontology, "9", *subs, mask, knowledge)


def make_set(tmp_path, *rows):
    write(tmp_path / "MAKE_training.csv", MAKE, *rows)
    (tmp_path / "pictures" / "textbook").mkdir(parents=True, exist_ok=True)
    (tmp_path / "pictures" / "textbook" / "Dr. A, 1_2.png").write_bytes(b"x")
    return import_set("make", tmp_path)


def test_make_masks_are_raw_ontology_visual(tmp_path):
    texts = ("Chronic eczema.", "This is a skin photo diagnosed as eczema.", "This skin photo shows scale.")
    rows = [
        make_row(
            "Dr. A, 1_2", *texts, ["Chronic eczema", "Of the hand", "Hidden"], "[1, 1, 0, 0, 0, 0, 0, 0]", "[1, 1, 0]"
        ),
        make_row("b", "Nothing new.", "", texts[2], ["Nothing new"], "[1, 0, 0, 0, 0, 0, 0, 0]", "[1, 0, 1]"),
    ]
    manifest = make_set(tmp_path, *rows)
    first, second = manifest.table.to_dict("records")
    assert (first["caption"], first["disease_text"]) == texts[:2]
    assert manifest.table["concept_text"].isna().tolist() == [True, False]
    assert manifest.table["disease_text"].isna().tolist() == [False, True]
    assert list(first["sentences"]) == ["Of the hand"]  # the first repeats the caption, the third is masked
    assert second["sentences"] is None
    assert first["image"] == "pictures/textbook/Dr. A, 1_2.png"
    assert second["image"] == "VL_Data/textbook/b.png"
    assert first["patient.sex"] == "male"
    assert manifest.table["disease_text_origin"].isna().tolist() == [False, True]


def test_masks_in_the_documented_but_wrong_order_are_noticed(tmp_path):
    row = make_row("b", "A.", "", "This skin photo shows scale.", [], str([0] * 8), "[1, 1, 0]")
    assert any("1 texts are empty though knowledge_masks" in note for note in make_set(tmp_path, row).notes)


@pytest.mark.parametrize("mask", ["__import__('os').abort()", "[1, 0]", "[1, 2, 0]", "", "{1: 2}"])
def test_masks_are_never_evaluated(tmp_path, mask):
    with pytest.raises(ValueError, match="knowledge_masks should be a list of 3 zeros and ones"):
        make_set(tmp_path, make_row("b", "A.", "B.", "C.", [], str([0] * 8), mask))


def test_the_word_nan_is_no_text(tmp_path):
    manifest = make_set(tmp_path, make_row("b", "A.", "nan", "nan", ["nan"], str([1] * 8), "[1, 1, 1]"))
    assert not {"disease_text", "concept_text", "sentences"} & set(manifest.table)
