"""MRA-MIDAS: Multimodal Image Dataset for AI-based Skin Cancer (Chiou et al. 2024)."""

import re
from pathlib import PurePosixPath

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import fitzpatrick, named, readable, sex
from dermis.cases.catalogue.missing import null_missing, numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import find_table

ROW = (
    "midas_record_id", "midas_file_name", "midas_iscontrol", "midas_distance", "midas_location", "midas_path",
    "midas_gender", "midas_age", "midas_fitzpatrick",
)  # fmt: skip
VIEWS = {"dscope": "dscope", "6in": "6in", "1ft": "1ft", "n/a - virtual": "virtual"}
CONTROLS = {"yes": "yes", "no": "no"}
CLASSES = {
    "malignant-bcc": "basal cell carcinoma",
    "malignant-melanoma": "melanoma",
    "malignant-scc": "squamous cell carcinoma",
    "malignant-sccis": "squamous cell carcinoma in situ",
    "malignant-ak": "actinic keratosis",
    "malignant-other": "other malignant",
    "benign-melanocytic nevus": "nevus",
    "benign-seborrheic keratosis": "seborrheic keratosis",
    "benign-dermatofibroma": "dermatofibroma",
    "benign-hemangioma": "hemangioma",
    "benign-fibrous papule": "fibrous papule",
    "benign-other": "other benign",
    "other-melanocytic lesion-possible re-excision": "melanocytic lesion, possible re-excision",
    "melanocytic tumor-possible re-excision": "melanocytic lesion, possible re-excision",
    "other-non-neoplastic-inflammatory-infectious": "inflammatory or infectious condition",
}
"""midas_path without what is in brackets, - for each of its - , and / -> name"""
PUBLISHED = 3416


@reader("midas")
def midas(files: Files) -> Reading:
    """MRA-MIDAS: lesions of patients in the USA, each photographed from two distances and by dermoscopy, with biopsy.

    Source: Chiou et al., medRxiv 2024.06.27.24309562 and NEJM AI (doi 10.1056/AIdbp2400732); data doi
    10.71718/15nz-jv40. Names and counts are those that public code which reads the table gives.

    Licence: Stanford AIMI's agreement: non-commercial research, in which the portal is acknowledged.

    Obtain: make an account on the portal of Stanford AIMI (aimi.stanford.edu/midas), accept the terms, and fetch it
    with `azcopy` by the link that is given then.

    On disk: `release_midas.xlsx`, or `release_midas.csv`, where `length_(mm)` is `length__mm_`, beside the pictures or
    with them in a folder.

    Columns: diagnosis (midas_path), finding.malignancy (its first word: malignant, benign or other), patient_id
    (midas_record_id), modality (dscope is dermoscopic, the rest clinical), lesion.localization, lesion.length_mm,
    lesion.width_mm, patient.age, patient.sex, patient.race, patient.ethnicity, patient.fitzpatrick; skin_tone; source
    with the view: `midas/dscope`, `midas/6in`, `midas/1ft`, `midas/virtual`.

    Counts: 3,416 rows: 1,049 dscope, 1,060 6in, 1,047 1ft, 260 virtual; 503 of them are controls. The paper has 796
    patients, 1,290 lesions and 3,830 pictures: 138 of each view but the virtual one are not in the release.

    Group key: patient_id. No column tells the lesion: the three views of one are three cases of a patient.

    Traps: controls (midas_iscontrol yes) have no pathology and are left out; a note says how many. midas_pathreport and
    clinical_impression_1 to _3 tell the label and are not imported; neither is midas_melanoma, which some take for the
    patient's history and some for the label. Actinic keratosis counts as malignant here. 205 names end in .jpeg where
    the file ends in .jpg. 58 names lack a file; 45 of them begin like one file alone, which is taken, and a note says
    so; 13 stay without. Sex differs between rows of some patients. Virtual pictures were sent in by patients or their
    physicians. Of 667 lesions in one audit 601 are on Fitzpatrick types I and II, 2 on V and VI.
    """
    table = find_table(files, ROW, "MRA-MIDAS", usually="release")
    notes = [f"{len(table)} rows (published: {PUBLISHED})."] if len(table) != PUBLISHED else []
    control = named(table["midas_iscontrol"], CONTROLS, "midas_iscontrol").eq("yes")
    if control.all():
        raise ValueError(f"all {len(table)} rows of the table of MRA-MIDAS are controls: nothing is left.")
    if control.any():
        notes.append(f"{int(control.sum())} controls (midas_iscontrol yes) are left out: they have no pathology.")
    found = with_similar(table["midas_file_name"], files, notes)[~control]
    table = table[~control]
    path = null_missing(table["midas_path"], also=("0",)).map(plain, na_action="ignore")
    view = named(table["midas_distance"], VIEWS, "midas_distance")
    skin = fitzpatrick(table["midas_fitzpatrick"].str.extract(r"^([A-Za-z]+|\d)", expand=False).str.upper())
    names = table["midas_file_name"]
    cases = {
        "case_id": names.str.rsplit(".", n=1).str[0],
        "patient_id": table["midas_record_id"],
        "image": found.fillna(names),
        "modality": view.map(lambda name: "dermoscopic" if name == "dscope" else "clinical", na_action="ignore"),
        "diagnosis": named(path, CLASSES, "midas_path"),
        "finding.malignancy": path.map(first_word, na_action="ignore"),
        "skin_tone": skin,
        "lesion.localization": readable(table["midas_location"]),
        **{f"lesion.{c}_mm": millimetres(table, c) for c in ("length", "width")},
        "patient.age": numbers(table["midas_age"]),
        "patient.sex": sex(table["midas_gender"]),
        **{f"patient.{c}": readable(table[f"midas_{c}"]) for c in ("race", "ethnicity") if f"midas_{c}" in table},
        "patient.fitzpatrick": numbers(skin),
        "source": ("midas/" + view).fillna("midas"),
        "licence": "Stanford AIMI (non-commercial research)",
    }
    return Reading(pd.DataFrame(cases), notes)


def plain(path: str) -> str:
    """``Malignant- BCC`` -> ``malignant-bcc``; what is in brackets goes."""
    return re.sub(r"\s*[-,/]\s*", "-", path.casefold().split("(")[0].strip())


def millimetres(table: pd.DataFrame, what: str) -> pd.Series | None:
    """The column ``length_(mm)`` or ``length__mm_``; None if there is none."""
    column = next((c for c in table if re.fullmatch(rf"{what}[\W_]*mm[\W_]*", c.casefold())), None)
    return None if column is None else numbers(table[column])


def first_word(path: str) -> str:
    """malignant, benign, or other for everything else."""
    return next((kind for kind in ("malignant", "benign") if path.startswith(kind)), "other")


def with_similar(names: pd.Series, files: Files, notes: list[str]) -> pd.Series:
    """The pictures of ``names``; where none is called so, the one that begins like the name, or the name like it.

    Letters and digits alone are compared, and a pair is taken if it is the only one for both; a note is added.
    """
    found = files.find_all(names)
    taken = set(found.dropna())
    free = {picture: bare(picture) for picture in files.pictures if picture not in taken}
    wanted = {row: bare(name) for row, name in names[found.isna()].dropna().items()}
    pairs = [
        (r, p) for r, w in wanted.items() for p, f in free.items() if w and f and (w.startswith(f) or f.startswith(w))
    ]
    similar = pd.DataFrame(pairs, columns=["row", "picture"])
    similar = similar[~similar["row"].duplicated(keep=False) & ~similar["picture"].duplicated(keep=False)]
    if len(similar):
        row, picture = similar.iloc[0]
        notes.append(f"{len(similar)} pictures are found by the beginning of their names ({names[row]} is {picture}).")
    return found.fillna(similar.set_index("row")["picture"].astype(object))


def bare(name: str) -> str:
    """a/S-prd_12.jpg -> sprd12."""
    return re.sub("[^a-z0-9]", "", PurePosixPath(name).stem.casefold())
