"""DermNet in 23 classes, as it is on Kaggle."""

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.given_split import SPLIT_NAMES
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.release import once, unlike_published
from dermis.cases.manifest import Manifest
from dermis.cases.split import split

PUBLISHED = {"train": 15557, "test": 4002, "classes": 23}


@reader("dermnet23")
def dermnet23(files: Files, valid: float = 0.1, seed: int = 0) -> Reading:
    """DermNet23: 19,559 clinical photographs of an online atlas in 23 classes, with a train and a test folder.

    Source: dermnet.com, by way of Kaggle shubhamgoel27/dermnet.

    Licence: none is stated that we know of; the pictures belong to the atlas. Ask there for more than private study.

    Obtain: from Kaggle, `kaggle datasets download shubhamgoel27/dermnet` (an account is needed).

    On disk: `train/<class>/*.jpg` and `test/<class>/*.jpg` (`Acne and Rosacea Photos/acne-cystic-12.jpg`), loose or in
    a zip file, nested or not.

    Columns: diagnosis (the class folder's name), split, case_id (split, class folder and file name). `valid=0.1` makes
    that share of the training pictures `valid`, of each class alike, drawn by `seed`, as M2CG does; `valid=0` leaves
    them in train. A folder `valid` on disk is taken as it is. The test folder is never touched.

    Counts: 15,557 train, 4,002 test; 23 classes.

    Group key: none, each picture is a group of its own: names tell the condition and a running number
    (`acne-cystic-12`), not the patient, so the stem is no key.

    Traps: an atlas shows patients and lesions several times, so near-duplicates may be in train and in test: run
    `dermis check`. A note counts the file names that are in both. Some pictures show no skin (`Forest-2.jpg`). Classes
    are chapters of the atlas and overlap (eczema, atopic dermatitis). Other web-scraped sets (Derm1M) may hold the same
    pictures.
    """
    pictures = files.placed()
    below = pictures["folders"].map(from_split)
    if (elsewhere := below.isna()).all():
        raise ValueError(f"no pictures of DermNet23 under {files.root}: it has `train/<class>` and `test/<class>`.")
    pictures, below = pictures[~elsewhere], below[~elsewhere]
    side, label = below.str[0].str.casefold().map(SPLIT_NAMES), below.str[1].str.strip()
    name = pictures["image"].str.rpartition("/")[2]
    cases = pd.DataFrame(
        {
            "case_id": side + "/" + label + "/" + name,
            "image": pictures["image"],
            "modality": "clinical",
            "diagnosis": label,
            "split": side,
            "source": "dermnet23",
            "licence": "none stated",
        }
    )
    both = set(name[side == "test"].str.casefold()) & set(name[side != "test"].str.casefold())
    cases, twice = once(cases)
    found = cases["split"].value_counts().to_dict() | {"classes": cases["diagnosis"].nunique()}
    notes = [
        *([f"{int(elsewhere.sum())} pictures lie in no class folder of a split: left out."] if elsewhere.any() else []),
        *twice,
        *([f"{len(both)} file names are in test and in train, {min(both)} for one: look."] if both else []),
        *unlike_published(found, PUBLISHED),
    ]
    if valid and (cases["split"] == "train").any() and not (cases["split"] == "valid").any():
        cases, more = with_valid(cases, valid, seed)
        notes += more
    return Reading(cases, notes)


def from_split(folders: list[str]) -> list[str] | None:
    """The names from the first folder that is one of a split on, if there is a class folder in it."""
    at = next((i for i, name in enumerate(folders[:-1]) if name.casefold() in SPLIT_NAMES), None)
    return None if at is None else folders[at:]


def with_valid(cases: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """The cases with this share of those in train as ``valid``, and a note."""
    train = cases["split"] == "train"
    drawn = split(Manifest.build(cases[train], "."), valid=share, test=0, seed=seed).table["split"]
    cases.loc[train, "split"] = drawn.to_numpy()
    count = int((drawn == "valid").sum())
    return cases, [
        f"{count} of {len(drawn)} training pictures are `valid` (seed {seed}); valid=0 leaves them in train."
    ]
