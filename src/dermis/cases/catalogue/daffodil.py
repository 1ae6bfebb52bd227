"""Daffodil: the Skin Disease Classification Dataset of Daffodil International University (Khushbu 2024)."""

import re

import pandas as pd

from dermis.cases.catalogue.augmented import letters, only
from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.release import once, unlike_published

CLASSES = {
    "acne": "acne",
    "hyperpigmentation": "hyperpigmentation",
    "nailpsoriasis": "nail psoriasis",
    "sjsten": "SJS/TEN",
    "vitiligo": "vitiligo",
}
"""a class folder's name, letters only -> the name in the published class list"""
PUBLISHED = {"SJS/TEN": 3164, "nail psoriasis": 2520, "vitiligo": 2016, "acne": 1148, "hyperpigmentation": 700}
COPIES = 28
"""pictures of each photograph, by the published numbers"""
MADE = re.compile(r"(?:crop-(?:0|[1-9]\d\d)\d{3}_(?:0|[1-9]\d\d)\d{3}|(?:hue|superpixels)-(?:100|150|200|25|50))(?=.)")
"""what stands before the photograph's own name in the name of a picture made from it"""


@reader("daffodil")
def daffodil(files: Files, part: str = "all") -> Reading:
    """Daffodil: 9,548 clinical pictures of 5 conditions, most of them made from a few hundred photographs.

    Source: Khushbu, Skin Disease Classification Dataset, Mendeley Data 2024, doi 10.17632/3hckgznc67.1; Daffodil in the
    tables of Derm1M (arXiv:2503.14911) and MAKE.

    Licence: CC BY 4.0 by the release; the pictures have the file names of DermNet (dermnetnz.org): ask there, too.

    Obtain: download it from data.mendeley.com/datasets/3hckgznc67/1; no account is needed.

    On disk: a folder per class, `acne`, `hyperpigmentation`, `Nail_psoriasis`, `SJS-TEN`, `Vitiligo`, loose or in zip
    files, nested or not.

    Columns: diagnosis (the class folder), case_id (class folder and file name), origin_id (class folder and the
    photograph's name). `part="original"` or `part="augmented"` leaves the rest out.

    Counts: SJS/TEN 3164, nail psoriasis 2520, vitiligo 2016, acne 1148, hyperpigmentation 700; all are multiples
    of 28, so that 341 photographs are likely.

    Group key: origin_id, the photograph, guessed from the file name: `hue-100`, `superpixels-25`, `Crop-0350_0300` and
    the like before it tell how a picture was made from it (`superpixels-25edp1__Protect….jpeg` of `edp1__Protect…`). A
    note says how many photographs the names tell.

    Traps: the release calls the pictures dermatoscopic; they are clinical photographs. Most are recoloured, cut or
    coarsened copies of others (somebody who took these out kept 3,411), so that a split without origin_id tests on
    copies of what it trains on; whether Derm1M's split (7,161, 477 and 1,910 pictures) keeps them together is not
    known. Which pictures are photographs as they were taken is told by the names only. Several photographs may be of
    one patient. DermNet23, Derm1M and other sets from the web may hold the same.
    """
    pictures = files.placed()
    folder = pictures["folders"].map(class_folder)
    elsewhere = int(folder.isna().sum())
    pictures, folder = pictures[folder.notna()], folder[folder.notna()]
    if pictures.empty:
        raise ValueError(f"no pictures of Daffodil under {files.root}: it has the folders acne, SJS-TEN, Vitiligo, ….")
    names = pictures["stem"].str.casefold()
    cases = pd.DataFrame(
        {
            "case_id": folder + "/" + names,
            "origin_id": folder + "/" + origin(names),
            "image": pictures["image"],
            "modality": "clinical",
            "diagnosis": folder.map(CLASSES),
            "source": "daffodil",
            "licence": "CC BY 4.0 (release)",
        }
    )
    cases, twice = once(cases)
    notes = [f"{elsewhere} pictures are in no class folder of Daffodil and are left out."] if elsewhere else []
    notes += twice + unlike_published(cases["diagnosis"].value_counts().to_dict(), PUBLISHED, "pictures are")
    told = cases["origin_id"].nunique()
    likely = f"published numbers are multiples of {COPIES}, so that {len(cases) / COPIES:.0f} are likely"
    notes.append(f"the names tell {told} photographs; {likely}.")
    cases, more = only(cases, part)
    return Reading(cases, notes + more)


def class_folder(folders: list[str]) -> str | None:
    """The innermost folder that is a class, as in CLASSES; None if none is."""
    return next((name for f in reversed(folders) if (name := letters(f)) in CLASSES), None)


def origin(names: pd.Series) -> pd.Series:
    """The photograph of each picture: what a name ends in that is a photograph's name elsewhere; else the name itself.

    Photographs are known by the pictures made from them in ways that MADE knows; other ways are then known, too.
    """
    made = [name[match.end() :] for name in names if (match := MADE.match(name))]
    known = set(made)
    return names.map(lambda name: next((name[k:] for k in range(len(name)) if name[k:] in known), name))
