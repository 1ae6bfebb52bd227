"""ISIC 2024 / SLICE-3D (Kurtansky et al. 2024)."""

import numpy as np
import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import readable, sex
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import column, find_table

LEAKY = "tbp_lv_dnn_lesion_confidence"
CATEGORIES = ("tbp_tile_type", "tbp_lv_location", "tbp_lv_location_simple")
AXIS, DIAMETER = "tbp_lv_symm_2axis_angle", "clin_size_long_diam_mm"
ROW = ("isic_id", "patient_id", "age_approx", "sex", "anatom_site_general", DIAMETER, AXIS, *CATEGORIES)


@reader("isic2024")
def isic2024(files: Files, part: str | None = None) -> Reading:
    """ISIC 2024 / SLICE-3D: 401,059 lesion tiles cut from total-body photographs of 1,042 patients, 393 malignant.

    Source: Kurtansky et al., Scientific Data 11, 884 (2024); Kaggle isic-2024-challenge.

    Licence: CC BY-NC 4.0 as a set; each picture's own licence is in the licence column.

    Obtain: join the competition on Kaggle, then `kaggle competitions download isic-2024-challenge`. The same pictures
    are at doi 10.34970/2024-slice-3d.

    On disk: `train-metadata.csv` with `train-image.hdf5` (one key per isic_id, JPEG bytes) or
    `train-image/image/<isic_id>.jpg`; `part="test"` reads the `test-` files. Where both forms lie there, loose files
    win.

    Columns: diagnosis and finding.malignancy (benign or malignant, from target), patient_id, lesion.localization
    (anatom_site_general), lesion.clin_size_long_diam_mm, lesion.tbp_tile_type, lesion.tbp_lv_* (31 numbers as they are,
    2 categories); patient.age, patient.sex.

    Counts: 393 malignant of 401,059; age known in 398,261 rows, sex in 389,542, site in 395,303; 259 patients with at
    least one malignant lesion; median 241 tiles per patient, 61 to 239 pixels wide.

    Group key: patient_id (the competition's own split is by patient).

    Traps: train-only columns tell the label and are dropped: lesion_id (given for 22,058 biopsied or followed lesions
    only), iddx_*, mel_mitotic_index, mel_thick_mm, tbp_lv_dnn_lesion_confidence. tbp_lv_symm_2axis_angle is the
    direction of an axis (0 to 175 degrees, 0 = 180), so it becomes sin and cos of twice the angle. There are at most
    about 36 distinct pairs of age and sex for 1,042 patients.
    """
    table = find_table(files, ROW, "ISIC 2024", part)
    measured = [c for c in table if c.startswith("tbp_lv_") and c not in (LEAKY, *CATEGORIES, AXIS)]
    twice = np.deg2rad(2 * numbers(table[AXIS]))
    target = table["target"].map({"1": "malignant", "0": "benign"}) if "target" in table else None
    licence = column(table, "copyright_license").fillna("?")
    cases = {
        "case_id": table["isic_id"],
        "patient_id": table["patient_id"],
        "image": files.find_all(table["isic_id"], f"{part or 'train'}-image/image/{{}}.jpg"),
        "modality": "tbp-tile",
        "diagnosis": target,
        "finding.malignancy": target,
        "lesion.localization": readable(table["anatom_site_general"]),
        **{f"lesion.{c}": table[c] for c in CATEGORIES},
        **{f"lesion.{c}": numbers(table[c]) for c in (DIAMETER, *measured)},
        f"lesion.{AXIS}_sin": np.sin(twice),
        f"lesion.{AXIS}_cos": np.cos(twice),
        "patient.age": numbers(table["age_approx"]),
        "patient.sex": sex(table["sex"]),
        "source": "isic2024",
        "licence": "CC BY-NC 4.0 (picture: " + licence + ")",
    }
    return Reading(pd.DataFrame(cases), [])
