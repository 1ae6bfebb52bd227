"""Daffodil with the names of its release, from which the photographs are told that its pictures were made of."""

import zipfile

import pytest

from dermis.cases.catalogue import import_set
from tests.cases.catalogue.conftest import tree

END = "__ProtectWyJQcm90ZWN0Il0_FocusFillWzI5NCwyMjIsIngiLDFd.jpeg"
# photograph -> pictures made from it, as the release names them
MADE = {
    "hyperpigmentation/edp1": ["superpixels-25", "superpixels-100", "hue-150"],
    "hyperpigmentation/lp-pigmentosus1": ["superpixels-25", "superpixels-50"],
    "Nail_psoriasis/3240": ["hue-100", "hue-150", "hue-200"],
    "Nail_psoriasis/3241": ["hue-100", "hue-50"],
    "Nail_psoriasis/3242": ["Crop-0350_0300", "Crop-0350_100400"],
    "Nail_psoriasis/3243": ["Crop-0350_0300"],
    "SJS-TEN/sjs-ten-oral-1": ["Crop-0350_0300", "Crop-0350_100400", "hue-100"],
    "SJS-TEN/sjs-ten-oral-12": ["Crop-0350_0300"],
    "Vitiligo/vitiligo-50": ["hue-50", "superpixels-200"],
    "acne/acne-face-1-1": ["hue-100"],
}


def pictures():
    for photograph, ways in MADE.items():
        folder, name = photograph.split("/")
        yield from (f"{folder}/{way}{name}{END}" for way in ways)


def test_pictures_made_of_one_photograph_are_one_group(tmp_path):
    manifest = import_set("daffodil", tree(tmp_path, *pictures()))
    table = manifest.table
    assert manifest.groups().nunique() == len(MADE)
    for photograph, ways in MADE.items():
        folder, name = photograph.split("/")
        of_it = table[table["image"].isin([f"{folder}/{way}{name}{END}" for way in ways])]
        assert len(of_it) == len(ways)
        assert of_it["origin_id"].nunique() == 1, photograph
    assert table.groupby("diagnosis").size().to_dict() == {
        "acne": 1, "hyperpigmentation": 5, "nail psoriasis": 8, "SJS/TEN": 4, "vitiligo": 2,
    }  # fmt: skip
    assert set(table["modality"]) == {"clinical"}
    assert any("the names tell 10 photographs" in note for note in manifest.notes)


def test_a_photograph_as_it_was_taken_is_the_original_of_its_copies(tmp_path):
    others = [f"Vitiligo/vitiligo-50{END}", f"Vitiligo/saturation-3vitiligo-50{END}", f"Vitiligo/vitiligo-5{END}"]
    manifest = import_set("daffodil", tree(tmp_path, *pictures(), *others))
    table = manifest.table.set_index("image")
    original = table["case_id"][f"Vitiligo/vitiligo-50{END}"]
    copies = table[(table["origin_id"] == original) & (table["case_id"] != original)]
    assert len(copies) == 3  # hue, superpixels, and a way that is only told by the name's end
    assert manifest.copies().sum() == 3
    assert table["origin_id"][f"Vitiligo/vitiligo-5{END}"] == table["case_id"][f"Vitiligo/vitiligo-5{END}"]
    alone = import_set("daffodil", tmp_path, part="original").table
    assert sorted(alone["image"]) == [f"Vitiligo/vitiligo-50{END}", f"Vitiligo/vitiligo-5{END}"]
    with pytest.raises(ValueError, match=r"unknown part 'originals'\. Did you mean 'original'"):
        import_set("daffodil", tmp_path, part="originals")


def test_copies_without_their_photograph_are_counted(tmp_path):
    notes = import_set("daffodil", tree(tmp_path, *pictures())).notes
    assert any("20 augmented copies are without their original" in note for note in notes)
    with pytest.raises(ValueError, match="there are no original pictures"):
        import_set("daffodil", tmp_path, part="original")


def test_zip_files_nested_folders_and_other_spellings(tmp_path):
    with zipfile.ZipFile(tmp_path / "Skin Disease.zip", "w") as archive:
        archive.writestr(f"Dataset/ACNE/hue-100acne-face-1-1{END}", b"x")
        archive.writestr(f"Dataset/Nail psoriasis/HUE-1003240{END}", b"x")
        archive.writestr(f"Dataset/sjs_ten/crop-0350_0300sjs-ten-oral-1{END}", b"x")
    tree(tmp_path, f"acne/hue-100acne-face-1-1{END}", "figure.png")
    manifest = import_set("daffodil", tmp_path)
    assert sorted(manifest.table["diagnosis"]) == ["SJS/TEN", "acne", "nail psoriasis"]
    assert manifest.table["image"][0] == f"acne/hue-100acne-face-1-1{END}"  # loose before packed
    assert any("1 pictures are in no class folder" in note for note in manifest.notes)
    assert any("1 pictures lie there twice" in note for note in manifest.notes)


def test_the_whole_release_has_the_published_counts(tmp_path):
    published = {"SJS-TEN": 113, "Nail_psoriasis": 90, "Vitiligo": 72, "acne": 41, "hyperpigmentation": 25}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for folder, photographs in published.items():
            for i in range(photographs):
                archive.writestr(f"{folder}/photo-{i}{END}", b"x")
                archive.writestr(f"{folder}/hue-100photo-{i}{END}", b"x")
                for k in range(26):
                    archive.writestr(f"{folder}/other{k}photo-{i}{END}", b"x")
    manifest = import_set("daffodil", tmp_path)
    assert len(manifest) == 9548
    assert manifest.notes == (
        "the names tell 341 photographs; published numbers are multiples of 28, so that 341 are likely.",
    )
    assert manifest.groups().nunique() == 341


def test_what_is_not_daffodil_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="no pictures of Daffodil under"):
        import_set("daffodil", tree(tmp_path, "eczema/a.jpg"))
