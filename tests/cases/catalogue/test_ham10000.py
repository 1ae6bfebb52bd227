"""HAM10000: the real table's counts, and every layout in which it is passed around."""

import zipfile

import pytest

from dermis.cases.catalogue import import_set
from dermis.pictures import store

ROWS = "HAM_1,ISIC_1,bkl,histo,80.0,male,scalp\nHAM_1,ISIC_2,nv,follow_up,,unknown,unknown\n"
HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization"


@pytest.mark.data
def test_counts_are_the_published_ones(shared_data):
    manifest = import_set("ham10000", shared_data / "ham10000_200x150")
    table = manifest.table
    assert table["diagnosis"].value_counts().to_dict() == {
        "nevus": 6705, "melanoma": 1113, "benign keratosis": 1099, "basal cell carcinoma": 514,
        "actinic keratosis": 327, "vascular": 142, "dermatofibroma": 115,
    }  # fmt: skip
    assert table["lesion_id"].nunique() == manifest.groups().nunique() == 7470
    assert (table["lesion_id"].value_counts() > 1).sum() == 1956
    assert table[["patient.age", "patient.sex", "lesion.localization"]].isna().sum().tolist() == [57, 57, 234]
    assert table["patient.sex"].value_counts().to_dict() == {"male": 5406, "female": 4552}
    assert table["mask"].notna().all()
    assert manifest.notes == ()


@pytest.mark.data
def test_pictures_and_masks_can_be_read_where_the_manifest_says(shared_data):
    manifest = import_set("ham10000", shared_data / "ham10000_200x150")
    row = manifest.table.iloc[5000]
    assert store.read_bytes(manifest.root, row["image"]).startswith(b"\xff\xd8")
    assert store.read_bytes(manifest.root, row["mask"]).startswith(b"\x89PNG")


@pytest.mark.data
def test_the_lesion_grouped_split_does_not_leak_and_the_published_one_does(shared_data):
    folder = shared_data / "ham10000_200x150"
    ours = import_set("ham10000", folder, split="split_lesion_grouped.csv")
    assert ours.table["split"].value_counts().to_dict() == {"train": 7030, "test": 2015, "valid": 970}
    assert not any("leaks" in note for note in ours.notes)
    published = import_set("ham10000", folder, split=shared_data / "benchmark_splits_magen" / "ISIC2018-LP.csv")
    assert published.table["split"].value_counts().to_dict() == {"train": 8012, "valid": 2003}
    assert any("tears 725 groups" in note for note in published.notes)


def parts(root):
    for part, name in (("1", "ISIC_1"), ("2", "ISIC_2")):
        (root / f"HAM10000_images_part_{part}").mkdir(parents=True)
        (root / f"HAM10000_images_part_{part}" / f"{name}.jpg").write_bytes(b"x")
    return ["HAM10000_images_part_1/ISIC_1.jpg", "HAM10000_images_part_2/ISIC_2.jpg"]


def one_folder(root):
    (root / "images").mkdir(parents=True)
    for name in ("ISIC_1.JPG", "isic_2.jpg"):
        (root / "images" / name).write_bytes(b"x")
    return ["images/ISIC_1.JPG", "images/isic_2.jpg"]


def zips(root):
    root.mkdir()
    for part, name in (("1", "ISIC_1"), ("2", "ISIC_2")):
        with zipfile.ZipFile(root / f"HAM10000_images_part_{part}.zip", "w") as archive:
            archive.writestr(f"{name}.jpg", b"x")
    return ["HAM10000_images_part_1.zip!/ISIC_1.jpg", "HAM10000_images_part_2.zip!/ISIC_2.jpg"]


@pytest.mark.parametrize("layout", [parts, one_folder, zips])
@pytest.mark.parametrize(
    "table", ["HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata", "with dataset"]
)
def test_every_layout_gives_the_same_cases(tmp_path, layout, table):
    images = layout(tmp_path / "HAM")
    text = f"{HEADER}\n{ROWS}"
    if table == "with dataset":
        text = text.replace("localization", "localization,dataset").replace("scalp", "scalp,rosendahl")
        text = text.replace("unknown\n", "unknown,vidir_modern\n")
    elif table.endswith(".tab"):
        text = text.replace(",", "\t")
    name = "HAM10000_metadata.csv" if table == "with dataset" else table
    (tmp_path / "HAM" / name).write_text(text, encoding="utf-8-sig")
    manifest = import_set("ham10000", tmp_path)  # a folder above: the release may be nested
    assert manifest.table["image"].tolist() == [f"HAM/{image}" for image in images]
    assert manifest.table["diagnosis"].tolist() == ["benign keratosis", "nevus"]
    assert manifest.table["patient.age"].isna().tolist() == [False, True]
    assert manifest.table["source"][1] == ("ham10000/vidir_modern" if table == "with dataset" else "ham10000")
    assert not [c for c in manifest.table if "dx_type" in c]
    assert manifest.notes == ()


def test_an_unknown_diagnosis_stops_and_an_odd_age_too(tmp_path):
    (tmp_path / "HAM10000_metadata.csv").write_text(f"{HEADER}\n{ROWS.replace('bkl', 'bk')}")
    with pytest.raises(ValueError, match="unknown diagnosis of HAM10000 'bk'"):
        import_set("ham10000", tmp_path)
    (tmp_path / "HAM10000_metadata.csv").write_text(f"{HEADER}\n{ROWS.replace('80.0', 'eighty')}")
    with pytest.raises(ValueError, match="column 'age' should hold numbers; 'eighty' is none"):
        import_set("ham10000", tmp_path)
