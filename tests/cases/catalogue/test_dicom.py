"""A folder of DICOM files: which are of one patient is kept, who it is only where that is asked for."""

import sys
import tracemalloc
import zipfile
from io import BytesIO

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from dermis.cases.catalogue import import_set
from dermis.cases.manifest import Manifest
from dermis.pictures.decode import decode
from dermis.pictures.dicom import tags_of
from dermis.pictures.store import read_bytes

PERSONAL = {
    "PatientName": "Doe^Jane", "PatientBirthDate": "19700131", "PatientAddress": "Elm Street 1", "PatientAge": "053Y",
    "PatientSex": "F", "PatientComments": "calls often", "ImageComments": "Mrs Doe again", "StudyDate": "20230405",
    "ReferringPhysicianName": "Roe^Richard", "BodyPartExamined": "LEG", "Laterality": "L", "OtherPatientIDs": "X-17",
}  # fmt: skip


def written(patient, study="1.2.3", syntax=uid.ExplicitVRLittleEndian, side=10, **elements):
    there = Dataset()
    there.SOPClassUID, there.Modality = uid.VLPhotographicImageStorage, "XC"
    there.StudyInstanceUID, there.PatientID = study, patient
    there.Rows = there.Columns = side
    there.SamplesPerPixel, there.PhotometricInterpretation, there.PlanarConfiguration = 3, "RGB", 0
    there.BitsAllocated, there.BitsStored, there.HighBit, there.PixelRepresentation = 8, 8, 7, 0
    there.PixelData = bytes(side * side * 3)
    for keyword, value in (PERSONAL | elements).items():
        setattr(there, keyword, value)
    there.file_meta = FileMetaDataset()
    there.file_meta.TransferSyntaxUID, there.file_meta.MediaStorageSOPClassUID = syntax, there.SOPClassUID
    there.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, there, enforce_file_format=True)
    return buffer.getvalue()


def region(meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "SCT", meaning
    return [item]


@pytest.fixture
def folder(tmp_path):
    """Five pictures of three patients, in folders of their visits."""
    export = tmp_path / "export"
    for name, data in {
        "a/IM1.dcm": written("4711"),
        "a/IM2.DCM": written("4711", "1.2.4", Modality="DMS"),
        "b/IM3.dcm": written("0815", "1.2.5", uid.ImplicitVRLittleEndian, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.7"),
        "b/IM4.dcm": written("4711 ", ImageType=["ORIGINAL", "PRIMARY", "DERMOSCOPY"]),
        "c/IM5.dcm": written("9", "1.2.6", SeriesDescription="Dermatoscopic overview"),
    }.items():
        (export / name).parent.mkdir(parents=True, exist_ok=True)
        (export / name).write_bytes(data)
    return export


def test_patients_are_numbered_and_nothing_else_of_them_is_taken(folder, tmp_path):
    manifest = import_set("dicom", folder)
    assert set(manifest.table) - {"case_id", "patient_id", "image", "modality", "source"} == set()
    assert manifest.table["case_id"].tolist() == ["IM1", "IM2", "IM3", "IM4", "IM5"]
    assert manifest.table["patient_id"].tolist() == ["export-1", "export-1", "export-2", "export-1", "export-3"]
    assert manifest.groups().nunique() == 3
    path = manifest.write(tmp_path / "cases.parquet")
    text = Manifest.read(path).table.to_csv() + " ".join(manifest.notes)
    assert not [word for word in ("4711", "0815", *map(str, PERSONAL.values())) if len(word) > 1 and word in text]
    assert "patients are numbered, and nothing else about them is read" in manifest.notes[0]
    assert import_set("dicom", folder).table.equals(manifest.table)


def test_pictures_that_a_manifest_names_are_opened(folder):
    manifest = import_set("dicom", folder)
    for path in manifest.table["image"]:
        assert decode(read_bytes(manifest.root, path)).shape == (10, 10, 3)


def test_what_is_dermoscopic_is_told_by_class_modality_type_or_series_and_a_camera_tells_nothing(folder):
    manifest = import_set("dicom", folder)
    assert [m == "dermoscopic" for m in manifest.table["modality"]] == [False, True, True, True, True]
    assert manifest.table["modality"].isna().sum() == 1
    assert any("1 of 5 files do not say whether they are photographs or dermoscopy" in note for note in manifest.notes)
    told = import_set("dicom", folder, modality="clinical", source="ours", licence="none")
    assert set(told.table["modality"]) == {"clinical"}
    assert set(told.table["source"]) == {"ours"}
    assert set(told.table["licence"]) == {"none"}
    assert told.table["patient_id"][0] == "ours-1"
    assert not any("photographs or dermoscopy" in note for note in told.notes)


def test_asked_for_number_age_sex_and_site_come_as_they_stand_and_never_a_name(folder):
    (folder / "c" / "d.dcm").write_bytes(
        written("7", PatientAge="018M", PatientSex="O", AnatomicRegionSequence=region("Upper arm"), ImageLaterality="R")
    )
    (folder / "c" / "e.dcm").write_bytes(written("7", PatientAge="", PatientSex="", BodyPartExamined="", Laterality=""))
    table = import_set("dicom", folder, patient="plain").table.set_index("case_id")
    assert table["patient_id"].tolist() == ["4711", "4711", "0815", "4711", "9", "7", "7"]
    assert table.loc["IM1", ["lesion.localization", "lesion.laterality", "patient.age", "patient.sex"]].tolist() == [
        "leg", "left", 53.0, "female",
    ]  # fmt: skip
    assert table.loc["d", ["lesion.localization", "lesion.laterality", "patient.age"]].tolist() == [
        "upper arm", "right", 1.5,
    ]  # fmt: skip
    assert pd.isna(table.loc["d", "patient.sex"])
    assert table.loc["e"].drop(["image", "patient_id", "source"]).isna().all()
    never = ("Doe", "1970", "Elm", "often", "again", "2023", "Roe", "X-17")
    assert not [word for word in never if word in table.to_csv()]


def test_files_of_nobody_are_grouped_by_study_and_one_patient_for_all_is_doubted(tmp_path):
    for name, patient, study in zip(
        "abcd", ("", "ANONYMOUS", "unknown", "5"), ("1.1", "1.1", "1.2", "1.3"), strict=True
    ):
        (tmp_path / f"{name}.dcm").write_bytes(written(patient, study))
    manifest = import_set("dicom", tmp_path, source="s")
    assert manifest.table["patient_id"].tolist() == ["s-1", "s-1", "s-2", "s-3"]
    assert "3 of 4 files name no patient: those of one study count as one patient." in manifest.notes
    for name, study in (("a", "1.1"), ("b", "1.2"), ("c", "1.3"), ("d", "1.4")):
        (tmp_path / f"{name}.dcm").write_bytes(written("export", study))
    assert any("all 4 files have one patient" in note for note in import_set("dicom", tmp_path).notes)


def test_what_is_not_a_picture_or_not_named_so_is_counted(folder):
    report = pydicom.dcmread(BytesIO(written("4711")))
    del report.PixelData
    report.save_as(folder / "report.dcm")
    (folder / "broken.dcm").write_bytes(written("4711")[:200])
    (folder / "text.dcm").write_text("Doe, Jane")
    (folder / "IM0001").write_bytes(written("4711"))
    (folder / "README").write_text("no")
    (folder / "burned.dcm").write_bytes(written("4711", BurnedInAnnotation="YES"))
    manifest = import_set("dicom", folder)
    assert len(manifest.table) == 6
    notes = " ".join(manifest.notes)
    assert "2 of 9 files are no DICOM or damaged (first: broken.dcm)." in notes
    assert "1 of 9 files are DICOM without a picture." in notes
    assert "1 of 6 files say that writing is burned into the picture" in notes
    assert "1 DICOM files without the extension .dcm are not imported" in notes
    assert "Doe" not in notes


def test_equal_names_keep_their_folders_and_a_zip_is_a_folder(tmp_path):
    for place in ("x", "y"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "IM1.dcm").write_bytes(written(place))
    assert import_set("dicom", tmp_path).table["case_id"].tolist() == ["x/IM1.dcm", "y/IM1.dcm"]
    with zipfile.ZipFile(tmp_path / "x" / "more.zip", "w") as archive:
        archive.writestr("z/IM2.dcm", written("x"))
    table = import_set("dicom", tmp_path / "x", source="s").table
    assert table["image"].tolist() == ["IM1.dcm", "more.zip!/z/IM2.dcm"]
    assert table["case_id"].tolist() == ["IM1", "IM2"]
    assert table["patient_id"].tolist() == ["s-1", "s-1"]


def test_only_headers_are_read(tmp_path):
    for number in range(40):
        data = written(str(number), side=600)  # a megabyte of pixels
        (tmp_path / f"{number:03}.dcm").write_bytes(data)
    (tmp_path / "cut.dcm").write_bytes(data[:5000])
    import_set("dicom", tmp_path)
    tracemalloc.start()
    assert len(import_set("dicom", tmp_path).table) == 41
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_value_that_claims_gigabytes_is_not_read_to_its_end(tmp_path):
    data = written("1")
    at = data.index(b"\x08\0\x16\0UI")
    with open(tmp_path / "large.dcm", "wb") as file:
        file.write(data[:at] + b"\x08\0\x08\0UN\0\0" + (3 << 30).to_bytes(4, "little"))
        file.truncate(4 << 30)  # a hole in the file, nothing on the disk
    (tmp_path / "sound.dcm").write_bytes(data)
    tracemalloc.start()
    manifest = import_set("dicom", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert manifest.table["case_id"].tolist() == ["sound"]
    assert peak < 1_000_000


def test_refused_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="there are no DICOM pictures"):
        import_set("dicom", tmp_path)
    (tmp_path / "a.dcm").write_bytes(b"x" * 500)
    with pytest.raises(ValueError, match=r"no DICOM pictures .* 1 of 1 files are no DICOM or damaged"):
        import_set("dicom", tmp_path)
    with pytest.raises(ValueError, match=r"unknown value of patient 'plane'\. Did you mean 'plain'"):
        import_set("dicom", tmp_path, patient="plane")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    tags_of.cache_clear()
    with pytest.raises(ValueError, match=r"pip install 'dermis\[dicom\]'"):
        import_set("dicom", tmp_path, patient="plain")


ISIC_2020 = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"


def test_isic_2020_is_read_in_dicom_and_a_jpeg_beside_it_is_preferred(tmp_path):
    (tmp_path / "train").mkdir()
    rows = [f"ISIC_{i},IP_1,male,45.0,torso,nevus,benign,0\n" for i in (1, 2)]
    (tmp_path / "train.csv").write_text(ISIC_2020 + "".join(rows))
    (tmp_path / "train" / "ISIC_1.dcm").write_bytes(written("IP_1"))
    (tmp_path / "train" / "ISIC_2.dcm").write_bytes(written("IP_1"))
    Image.fromarray(np.zeros((10, 10, 3), np.uint8)).save(tmp_path / "train" / "ISIC_2.jpg")
    manifest = import_set("isic2020", tmp_path)
    assert manifest.table["image"].tolist() == ["train/ISIC_1.dcm", "train/ISIC_2.jpg"]
    assert manifest.notes == ()
    assert decode(read_bytes(manifest.root, "train/ISIC_1.dcm")).shape == (10, 10, 3)


def test_pictures_of_phones_and_of_archives_are_found_in_a_folder_per_class(tmp_path):
    for name in ("nevus/a.HEIC", "nevus/b.dcm", "melanoma/c.heif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    table = import_set("folder", tmp_path).table
    assert dict(zip(table["image"], table["diagnosis"], strict=True)) == {
        "nevus/a.HEIC": "nevus", "nevus/b.dcm": "nevus", "melanoma/c.heif": "melanoma",
    }  # fmt: skip
