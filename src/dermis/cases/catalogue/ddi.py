"""DDI: Diverse Dermatology Images (Daneshjou et al. 2022)."""

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import named
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import find_table

ROW = ("DDI_ID", "DDI_file", "skin_tone", "disease")
MALIGNANT = ("malignant", "malignancy(malig=1)")
"""what the column of malignancy is called, today and in the authors' first table"""
KINDS = {"true": "malignant", "1": "malignant", "false": "benign", "0": "benign"}
BANDS = {"12": "1-2", "34": "3-4", "56": "5-6"}
"""two neighbouring Fitzpatrick types, written as one number"""
PUBLISHED = 656


@reader("ddi")
def ddi(files: Files) -> Reading:
    """DDI: 656 clinical photographs of 570 patients with a diagnosis from biopsy, in three bands of skin tone.

    Source: Daneshjou et al., Science Advances 8, eabq6147 (2022); ddi-dataset.github.io; layout as in
    github.com/DDI-Dataset/DDI-Code @ 864d146.

    Licence: Stanford's research use agreement: personal, non-commercial research; no copies, no derivatives.

    Obtain: on the portal of Stanford AIMI (stanfordaimi.azurewebsites.net, dataset
    35866158-8196-48d8-87bf-50dca81df965), where every user has to register and to agree to it.

    On disk: `ddi_metadata.csv` beside `000001.png`, ..., or with the pictures in `images/`, where the authors' code
    wants them.

    Columns: diagnosis (disease, - as space), finding.malignancy (malignant: malignant or benign), skin_tone (12, 34, 56
    as 1-2, 3-4, 5-6), case_id (the file's name, as SkinCon and SkinCAP call the picture).

    Counts: 656 pictures, 570 patients. Pictures per disease and band: not known here.

    Group key: none, each picture is a group of its own: the table does not tell which pictures are of one patient, and
    86 pictures are a patient's second or later one.

    Traps: meant as a benchmark, and small. The bands I-II and V-VI were matched by diagnostic category, age, sex and
    date, to be compared with each other. No split can be cut by patient. The pictures are also in SkinCon and SkinCAP:
    never train on these and test here. Some were cropped for privacy.
    """
    table = find_table(files, ROW, "DDI", usually="ddi")
    names = table["DDI_file"]
    cases = {
        "case_id": names.str.rsplit(".", n=1).str[0],
        "image": files.find_all(names, "{}"),
        "modality": "clinical",
        "diagnosis": table["disease"].str.casefold().str.replace("-", " "),
        "finding.malignancy": malignancy(next((table[c] for c in MALIGNANT if c in table), None)),
        "skin_tone": bands(table["skin_tone"]),
        "source": "ddi",
        "licence": "Stanford research use agreement",
    }
    notes = [f"{len(table)} pictures (published: {PUBLISHED})."] if len(table) != PUBLISHED else []
    return Reading(pd.DataFrame(cases), notes)


def bands(column: pd.Series) -> pd.Series:
    """12 -> "1-2"; raises ValueError for what is no band of DDI."""
    return named(whole(column), BANDS, "skin tone of DDI")


def malignancy(column: pd.Series | None) -> pd.Series | None:
    """TRUE or 1 -> "malignant", FALSE or 0 -> "benign"; raises ValueError for anything else."""
    return None if column is None else named(whole(column), KINDS, "malignancy of DDI")


def whole(column: pd.Series) -> pd.Series:
    """12.0 -> 12, as a spreadsheet may have made of it."""
    return column.str.removesuffix(".0")
