"""A folder of DICOM files, of which nothing about the patients is taken unless it is asked for."""

import re
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import readable, sex
from dermis.cases.catalogue.missing import null_missing
from dermis.cases.catalogue.reader import Reading, reader
from dermis.pictures.dicom import is_dicom, read_elements, tags_of
from dermis.pictures.store import read_bytes
from dermis.registry import unknown

PATIENT = ("numbered", "plain")
DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"  # SOP class: Dermoscopic Photography Image Storage
ALWAYS = ("PatientID", "StudyInstanceUID", "BurnedInAnnotation")
OF_PATIENT = ("PatientAge", "PatientSex", "BodyPartExamined", "ImageLaterality", "Laterality")
KEPT = ALWAYS + OF_PATIENT
LOOKED_AT = ("SOPClassUID", "Modality", "ImageType", "SeriesDescription", "Rows")
NOBODY = ("anonymous", "anonymized", "anonymised", "anon", "0")
"""what is written for a patient's number where there is none, beside the words for "not known" """
SIDES = {"R": "right", "L": "left", "B": "both"}
YEARS = {"Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@reader("dicom")
def dicom(
    files: Files,
    patient: str = "numbered",
    modality: str | None = None,
    source: str | None = None,
    licence: str | None = None,
) -> Reading:
    """A folder of DICOM files (.dcm): photographs, dermoscopy, captured screens; one case per file.

    Source: yours, such as an export of a hospital's archive. It needs `pip install 'dermis[dicom]'`.

    Licence: yours; state it with `licence=`.

    Obtain: it is your own.

    On disk: `*.dcm` in any folders, or in a zip file; the first frame of several. Only headers are read here, and of
    them only the elements that are named below.

    Columns: case_id (the file's name, or its path where names come twice), modality (dermoscopic where the SOP class,
    the modality DMS, the image type or the series' description says so; else null, or for all what `modality=` says),
    patient_id; source and licence can be given for all. With `patient=plain` also patient.age (PatientAge, in years),
    patient.sex, lesion.localization (the anatomic region, else BodyPartExamined) and lesion.laterality (left, right,
    both).

    Counts: those of the folder; files that are no DICOM, or hold no picture, are left out, and a note counts them.

    Group key: patient_id. With `patient=numbered`, as it is unless told otherwise, the patients are numbered in the
    order of their first files, with the source before the number: that says which files are of one patient, and nothing
    leads back to a PatientID, as a hash would for whoever tries all short numbers. The same folder is numbered the same
    way again, in every run and on every rank; a folder with other files is not, so import what belongs together at
    once. With `patient=plain` it is PatientID itself. Without a PatientID the files of one study count as one patient.

    Traps: names, birth dates, addresses, dates and comments are never imported. But paths are, as they stand: a file or
    a folder that is named after a patient tells who it is. So may the pixels: a note counts the files that say that
    writing is burned in, and many that have it do not say so. The modality XC (camera) is that of photographs and of
    dermoscopy before 2020, ISIC 2020's among them: state it. Numbers of patients from several hospitals may be equal.
    """
    if patient not in PATIENT:
        raise unknown("value of patient", patient, PATIENT)
    asked_for = (*OF_PATIENT, "AnatomicRegionSequence") if patient == "plain" else ()
    tags = tags_of((*ALWAYS, *LOOKED_AT, *asked_for))
    paths = [path for path in files.pictures if path.casefold().endswith(".dcm")]
    rows, notes = _rows(files, paths, tags)
    if not rows:
        raise ValueError(" ".join([f"there are no DICOM pictures (.dcm) under {files.root}.", *notes]))
    found, source = pd.DataFrame(rows), source or files.root.resolve().name
    stems = found["image"].str.replace("!/", "/").str.rsplit("/", n=1).str[-1].str[: -len(".dcm")]
    people, more = _people(found, source if patient == "numbered" else None)
    cases = {
        "case_id": stems if stems.is_unique else found["image"],
        "patient_id": people,
        "image": found["image"],
        "modality": modality or found["modality"],
        "source": source,
        "licence": licence,
    }
    if patient == "plain":
        cases |= {
            "lesion.localization": readable(found["AnatomicRegion"].fillna(found["BodyPartExamined"])),
            "lesion.laterality": found["ImageLaterality"].fillna(found["Laterality"]).map(SIDES).astype(object),
            "patient.age": found["PatientAge"].map(_years, na_action="ignore").astype(float),
            "patient.sex": sex(found["PatientSex"]),
        }
    return Reading(pd.DataFrame(cases), [*notes, *more, *_doubts(files, found, asked=modality is None)])


def _rows(files: Files, paths: list[str], tags: frozenset[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """A row of strings per file with a picture, read one after the other; notes on the others."""
    rows, unreadable, pictureless = [], [], 0
    for path in paths:
        try:
            with warnings.catch_warnings():  # pydicom's quote values that do not fit, and those are of patients
                warnings.simplefilter("ignore")
                row = _row(files, path, tags)
        except Exception:  # a parser on damaged bytes may raise anything, and its words may quote a patient's data
            unreadable.append(path)
            continue
        pictureless += row is None
        rows += [row] if row else []
    notes = []
    if unreadable:
        notes.append(f"{len(unreadable)} of {len(paths)} files are no DICOM or damaged (first: {unreadable[0]}).")
    if pictureless:
        notes.append(f"{pictureless} of {len(paths)} files are DICOM without a picture.")
    return rows, notes


def _row(files: Files, path: str, tags: frozenset[int]) -> dict[str, Any] | None:
    with BytesIO(read_bytes(files.root, path)) if "!/" in path else open(files.root / path, "rb") as file:
        if not is_dicom(file.read(132)):
            raise ValueError(f"{path} is no DICOM file.")
        found = read_elements(file, tags)
    if found.at is None or "Rows" not in found.tags:
        return None
    said = {keyword: _text(found.tags, keyword) for keyword in KEPT}
    region = found.tags.get("AnatomicRegionSequence")
    said["AnatomicRegion"] = _text(region[0], "CodeMeaning") if region else None
    dermoscopic = (
        _text(found.tags, "SOPClassUID") == DERMOSCOPIC
        or _text(found.tags, "Modality") == "DMS"
        or re.search(r"derm(at)?oscop", f"{found.tags.get('ImageType')} {_text(found.tags, 'SeriesDescription')}", re.I)
    )
    return {"image": path, "modality": "dermoscopic" if dermoscopic else None, **said}


def _text(elements: Any, keyword: str) -> str | None:
    return str(elements.get(keyword) or "").strip() or None


def _people(found: pd.DataFrame, source: str | None) -> tuple[pd.Series, list[str]]:
    """The patient_id of each file, numbers of ``source`` unless that is None, and notes about it."""
    ids = null_missing(found["PatientID"], also=NOBODY)
    people, lacking, notes = ids.fillna(found["StudyInstanceUID"]), int(ids.isna().sum()), []
    if source is not None:
        number = pd.Series(pd.factorize(people)[0], index=people.index)
        people = number.map(lambda n: None if n < 0 else f"{source}-{n + 1}")
        notes.append(
            "patients are numbered, and nothing else about them is read: patient=plain takes PatientID, age, sex and "
            "body part as they stand."
        )
    if lacking:
        notes.append(f"{lacking} of {len(found)} files name no patient: those of one study count as one patient.")
    if people.nunique() == 1 and found["StudyInstanceUID"].nunique() > 1:
        notes.append(f"all {len(found)} files have one patient: if that is not so, they cannot be split by patient.")
    return people.astype(object), notes


def _years(age: str) -> float | None:
    """ "045Y", "018M", "003W" or "010D" -> years."""
    told = re.fullmatch(r"(\d{1,3})([YMWD])", age)
    return round(int(told[1]) * YEARS[told[2]], 2) if told else None


def _doubts(files: Files, found: pd.DataFrame, asked: bool) -> list[str]:
    notes = []
    if asked and (silent := int(found["modality"].isna().sum())):
        notes.append(
            f"{silent} of {len(found)} files do not say whether they are photographs or dermoscopy: say it with "
            "modality=clinical or modality=dermoscopic."
        )
    if burned := int((found["BurnedInAnnotation"] == "YES").sum()):
        notes.append(f"{burned} of {len(found)} files say that writing is burned into the picture: it may be a name.")
    if unnamed := sum(_begins_dicom(table) for table in files.tables if not table.suffix):
        notes.append(f"{unnamed} DICOM files without the extension .dcm are not imported: rename them.")
    return notes


def _begins_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        return is_dicom(file.read(132))
