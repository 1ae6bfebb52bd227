"""import_set: options, missing pictures, published splits, and the pages."""

from pathlib import Path

import pytest

from dermis.cases.catalogue import Imported, import_set
from dermis.cases.catalogue.pages import PARAGRAPHS, first_sentence, pages, paragraphs
from dermis.cases.catalogue.reader import READERS
from dermis.cases.manifest import Manifest

PROXIES = ("dx_type", "biopsed", "diagnosis_confirm_type", "tbp_lv_dnn_lesion_confidence", "mel_", "iddx", "management")


@pytest.fixture
def three(tmp_path):
    (tmp_path / "cases.csv").write_text(
        "image,lesion_id,diagnosis\na.jpg,L1,nevus\nb.jpg,L1,nevus\nc.jpg,L2,melanoma\n"
    )
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_bytes(b"x")
    return tmp_path / "cases.csv"


def test_an_unknown_set_and_an_unknown_option_name_the_nearest(three):
    with pytest.raises(ValueError, match=r"unknown data set 'ham1000'. Did you mean 'ham10000'"):
        import_set("ham1000", three)
    with pytest.raises(ValueError, match=r"unknown option of csv 'colums'. Did you mean 'columns'"):
        import_set("csv", three, colums={})
    with pytest.raises(ValueError, match="there is nothing at"):
        import_set("csv", three.with_name("nowhere"))


def test_a_missing_picture_is_kept_and_counted_or_dropped_and_counted(three):
    kept = import_set("csv", three)
    assert kept.table["image"].tolist() == ["a.jpg", "b.jpg", "c.jpg"]
    assert any("image: 1 of 3 are not under" in note and "first: c.jpg" in note for note in kept.notes)
    dropped = import_set("csv", three, missing="drop")
    assert dropped.table["image"].tolist() == ["a.jpg", "b.jpg"]
    assert any("1 cases without their pictures are left out" in note for note in dropped.notes)
    assert isinstance(dropped, Manifest)
    assert isinstance(dropped, Imported)


def test_nothing_on_disk_cannot_be_dropped_to_nothing(three):
    for picture in three.parent.glob("*.jpg"):
        picture.unlink()
    with pytest.raises(ValueError, match="none of the 3 cases has its pictures"):
        import_set("csv", three, missing="drop")


def test_a_published_split_is_matched_by_name_and_a_leak_is_said(three):
    three.with_name("split.csv").write_text("path,split\ndata/x/a.png,train\ndata/x/b.png,val\ndata/x/d.png,test\n")
    manifest = import_set("csv", three, split="split.csv")
    assert manifest.table["split"].fillna("none").tolist() == ["train", "valid", "none"]
    assert any("1 cases have no split; 1 of its rows are not among the cases" in note for note in manifest.notes)
    assert any("tears 1 groups" in note for note in manifest.notes)


def test_a_split_table_of_another_set_is_refused(three):
    three.with_name("split.csv").write_text("path,split\nother.png,train\n")
    with pytest.raises(ValueError, match="knows none of the cases"):
        import_set("csv", three, split="split.csv")
    three.with_name("split.csv").write_text("path,split\na.png,trian\n")
    with pytest.raises(ValueError, match=r"unknown split in split\.csv 'trian'. Did you mean 'train'"):
        import_set("csv", three, split="split.csv")


@pytest.mark.parametrize("text", [None, "split\ntrain\n", "image,split\n"])
def test_what_is_no_table_of_a_split_is_refused_in_a_sentence(three, text):
    if text is not None:
        three.with_name("split.csv").write_text(text)
    with pytest.raises(ValueError, match=r"no table of a split at split\.csv|knows none of the cases"):
        import_set("csv", three, split="split.csv")


def test_a_name_on_two_sides_of_a_published_split_has_none(three):
    three.with_name("split.csv").write_text("image,split\na.jpg,train\na.jpg,test\nb.jpg,train\n")
    manifest = import_set("csv", three, split="split.csv")
    assert manifest.table["split"].fillna("none").tolist() == ["none", "train", "none"]
    assert "split.csv: 1 names are on more than one side, a for one." in manifest.notes


@pytest.mark.parametrize("name, header, lacking", [
    ("pad-ufes-20", "img_id,patient_id,lesion_id,diagnostic,region,age,gender,fitspatrick,itch,grew,hurt,changed,bleed,"
     "elevation", "diameter_1"),
    ("derm7pt", "case_num,diagnosis,clinic,derm,pigment_network,streaks,pigmentation,regression_structures,"
     "dots_and_globules,blue_whitish_veil,vascular_structures", "location"),
    ("isic2024", "isic_id,patient_id,age_approx,sex,tbp_lv_symm_2axis_angle", "anatom_site_general"),
])  # fmt: skip
def test_a_table_cut_to_some_columns_is_refused_by_name(tmp_path, name, header, lacking):
    (tmp_path / "meta.csv").write_text(f"{header}\n")
    with pytest.raises(ValueError, match=rf"meta\.csv comes nearest but lacks {lacking}"):
        import_set(name, tmp_path)


def test_docs_are_the_docstrings():
    assert (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8") == pages()


@pytest.mark.parametrize("name", list(READERS))
def test_each_page_states_what_a_page_states(name):
    page = READERS[name].__doc__
    assert READERS.summary(name).endswith(".")
    assert tuple(paragraphs(page)) == PARAGRAPHS  # all of them, in this order
    assert all(f"\n    {word}: " in page and text for word, text in paragraphs(page).items())


def test_paragraphs_and_sentences_of_a_page():
    page = """A set.

    Licence: CC BY-NC 4.0 for the tables (v. 2); the pictures
    are at a.org/b.html. Ask there.

    Obtain: `isic image download --collections 1 DIR`. `kaggle` has it too. 2.0 is another.

    A paragraph of its own. Licence: in the middle.
    """
    found = paragraphs(page)
    assert found == {
        "Licence": "CC BY-NC 4.0 for the tables (v. 2); the pictures are at a.org/b.html. Ask there.",
        "Obtain": "`isic image download --collections 1 DIR`. `kaggle` has it too. 2.0 is another.",
    }
    assert first_sentence(found["Licence"]) == "CC BY-NC 4.0 for the tables (v. 2); the pictures are at a.org/b.html"
    assert first_sentence(found["Obtain"]) == "`isic image download --collections 1 DIR`"
    assert first_sentence("it is your own.") == "it is your own"


@pytest.mark.data
@pytest.mark.parametrize("name, folder", [
    ("ham10000", "ham10000_200x150"), ("pad-ufes-20", "pad_ufes20_subset"), ("derm7pt", "derm7pt_tables"),
    ("isic2019", "isic2019_tables"), ("isic2020", "isic2020_tables"), ("isic2024", "isic2024_sample"),
    ("milk10k", "milk10k_tables"), ("fitzpatrick17k", "fitzpatrick17k_tables"),
])  # fmt: skip
def test_real_sets_survive_writing_and_bring_no_proxy_of_the_label(shared_data, tmp_path, name, folder):
    manifest = import_set(name, shared_data / folder)
    assert {"source", "licence", "modality"} <= {c for c in manifest.table if c in manifest}
    assert not [c for c in manifest.table for proxy in PROXIES if proxy in c]
    for value in manifest.categories.values():
        assert not {"unknown", "unk", "nan", "", "-1"} & {v.casefold() for v in value}
    read = Manifest.read(manifest.write(tmp_path / "cases.parquet"))
    assert read.table.equals(manifest.table)
    assert read.groups().nunique() == manifest.groups().nunique()
