"""SCIN: Skin Condition Image Network (Ward et al. 2024)."""

import ast
from pathlib import PurePosixPath

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import readable, sex
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.release import unlike_published
from dermis.cases.catalogue.table import by_id, column, find_table, tables_with
from dermis.cases.catalogue.ticked import answers, one_of

CASES = (
    "case_id",
    "image_1_path",
    "image_2_path",
    "image_3_path",
    "age_group",
    "sex_at_birth",
    "fitzpatrick_skin_type",
)
LABELS = ("case_id", "weighted_skin_condition_label")
AGES = {
    "AGE_18_TO_29": 23.5, "AGE_30_TO_39": 34.5, "AGE_40_TO_49": 44.5, "AGE_50_TO_59": 54.5, "AGE_60_TO_69": 64.5,
    "AGE_70_TO_79": 74.5, "AGE_80_OR_ABOVE": 80.0,
}  # fmt: skip
NOT_SAID = ("AGE_UNKNOWN", "NONE_IDENTIFIED", "NONE_SELECTED", "OTHER_OR_UNSPECIFIED", "{}")
QUESTIONS = {"textures_": "texture", "condition_symptoms_": "symptom", "other_symptoms_": "symptom"}
"""how the boxes of a question to the giver begin -> what is asked"""
PUBLISHED = {"cases": 5033, "pictures": 10407}


@reader("scin")
def scin(files: Files, min_weight: float = 0.0) -> Reading:
    """SCIN: 10,407 photographs of 5,033 cases, given by users of a search engine, labelled by dermatologists.

    Source: Ward et al., JAMA Network Open 7(11), e2446615 (2024) (arXiv:2402.18545);
    github.com/google-research-datasets/scin.

    Licence: SCIN Data Use License: use, sharing and changes with attribution; never try to find out who somebody is.

    Obtain: copy the public bucket, `gcloud storage cp -r gs://dx-scin-public-data/dataset FOLDER`; no form is needed.

    On disk: `dataset/scin_cases.csv` (a row per case), `dataset/scin_labels.csv`, pictures `dataset/images/<id>.png`.

    Columns: one row per picture (up to three of a case): lesion_id (case_id), diagnosis (the condition with the largest
    weight in weighted_skin_condition_label, of equal ones the first; `min_weight=0.5` leaves it empty below that);
    skin_tone (median of the dermatologists' estimates, rounded up); lesion.localization (body part; "several" where
    more than one is ticked), lesion.shot_type, lesion.duration, lesion.category (both as the giver said),
    lesion.texture_NAME, lesion.symptom_NAME (True or False, null where the question was not answered); patient.age
    (middle of age_group; 80 for 80 or above), patient.sex (at birth), patient.ethnicity, patient.fitzpatrick (as the
    giver said), patient.monk_us, patient.monk_india (Monk scale 1 to 10, by laypersons in either country).

    Counts: 5,033 cases, 3,085 with a second and 2,289 with a third picture; 1,972 cases without diagnosis; female 1666,
    male 807; said to be type 1 to 6: 188, 542, 661, 427, 214, 143, none of them 328.

    Group key: lesion_id, the case; there is no patient id. Cases that share a picture have one origin_id.

    Traps: the label is a weighted differential of one to three dermatologists who saw the pictures, without biopsy;
    whether they could grade a case is a proxy of the label and is not imported. 15 pictures are in several cases (42
    rows). One, -2243186711511406658, is not in the bucket. Ages are decades. A box that is not ticked says no only
    where another of its question is. Skin tones are by different people: do not mix them. dataset_schema.md names
    dermatologist_skin_condition_on_label_name and NONE_IDENTIFIED otherwise than the tables do.
    """
    table = find_table(files, CASES, "SCIN", also_missing=NOT_SAID).rename(columns=str.casefold)
    if tables_with(files, LABELS):
        labels = by_id(find_table(files, LABELS, "SCIN", also_missing=NOT_SAID), "case_id", "SCIN's labels")
        table = table.join(labels[labels.columns.difference(table.columns)], on="case_id")
    by_case = {
        "lesion_id": table["case_id"],
        "modality": "clinical",
        "diagnosis": heaviest(column(table, "weighted_skin_condition_label"), min_weight),
        "skin_tone": estimated(table),
        "lesion.localization": one_of(table, "body_parts_", "several"),
        "lesion.duration": readable(column(table, "condition_duration")),
        "lesion.category": readable(column(table, "related_category")),
        **{
            f"lesion.{c}": answer
            for question, asked in QUESTIONS.items()
            for c, answer in answers(table, question, asked)
        },
        "patient.age": table["age_group"].map(AGES),
        "patient.sex": sex(table["sex_at_birth"]),
        "patient.ethnicity": one_of(table, "race_ethnicity_", "two or more"),
        "patient.fitzpatrick": numbers(table["fitzpatrick_skin_type"].str.removeprefix("FST")),
        "patient.monk_us": numbers(column(table, "monk_skin_tone_label_us")),
        "patient.monk_india": numbers(column(table, "monk_skin_tone_label_india")),
        "source": "scin",
        "licence": "SCIN Data Use License",
    }
    cases = pd.DataFrame(by_case)
    shots = []
    for k in ("1", "2", "3"):
        name = table[f"image_{k}_path"].map(lambda path: PurePosixPath(path).stem, na_action="ignore")
        place = {"case_id": table["case_id"] + "_" + k, "name": name}
        shot = {"lesion.shot_type": readable(column(table, f"image_{k}_shot_type"))}
        shots.append(cases.assign(**place, **shot)[name.notna()])
    rows = pd.concat(shots).sort_index(kind="stable").reset_index(drop=True)
    rows["origin_id"] = rows["name"].where(rows["name"].duplicated(keep=False), None)
    rows["image"] = files.find_all(rows["name"], "dataset/images/{}.png")
    found = {"cases": len(table), "pictures": len(rows)}
    return Reading(rows.drop(columns="name"), unlike_published(found, PUBLISHED))


def heaviest(labels: pd.Series, min_weight: float) -> pd.Series:
    """``{'Eczema': 0.6, 'Acne': 0.4}`` -> Eczema, if its weight is at least ``min_weight``; else null.

    Raises ValueError for anything but a dictionary of numbers.
    """
    return labels.map(lambda cell: None if pd.isna(cell) else _heaviest(cell, min_weight)).astype(object)


def _heaviest(cell: str, min_weight: float) -> str | None:
    try:
        weights = dict(ast.literal_eval(cell))
        name = max(weights, key=weights.__getitem__)
        return name if float(weights[name]) >= min_weight else None
    except (ValueError, SyntaxError, TypeError):
        raise ValueError(f"weighted_skin_condition_label should be names with weights; {cell!r} is not.") from None


def estimated(table: pd.DataFrame) -> pd.Series:
    """The median of the dermatologists' Fitzpatrick types, "1" to "6", of two middle ones the darker."""
    said_by = [column(table, f"dermatologist_fitzpatrick_skin_type_label_{k}") for k in (1, 2, 3)]
    types = pd.concat([numbers(one.str.removeprefix("FST")) for one in said_by], axis=1)
    return types.median(axis=1).map(lambda t: None if pd.isna(t) else str(int(t + 0.5))).astype(object)
