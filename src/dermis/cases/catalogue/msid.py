"""MSID: the web-scraped skin image database of pox and measles (Islam et al. 2022)."""

import pandas as pd

from dermis.cases.catalogue.augmented import letters, only, parts_unlike_published
from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.release import once
from dermis.registry import unknown

ORIGINALS = {"chickenpox": 178, "cowpox": 54, "healthy": 50, "measles": 47, "monkeypox": 117, "smallpox": 358}
PUBLISHED = {"original": ORIGINALS, "augmented": {name: 49 * number for name, number in ORIGINALS.items()}}
PLACES = {"preprocessed": "original", "original": "original", "augmented": "augmented"}
"""how the names of the two folders start -> what lies there"""


@reader("msid")
def msid(files: Files, part: str = "all") -> Reading:
    """MSID (Islam et al.): 804 web-scraped photographs, 5 diseases and healthy skin, with 39,396 augmented copies.

    Source: Islam et al. 2022 (bioRxiv 10.1101/2022.08.01.502199); was Kaggle
    arafathussain/monkeypox-skin-image-dataset-2022 and is withdrawn there; a copy is heywhale.com dataset
    62eb75d6fef0903951b1f199.

    Licence: CC BY-SA 4.0 by that copy; the pictures belong to the sites that they are from
    (`image_list_with_sources_and_credits.xlsx`).

    Obtain: it is not on Kaggle any more; the copy on heywhale.com (see Source) is what is left.

    On disk: `preprocessed_original_images/` and `augmented_images/`, each with the folders chickenpox, cowpox, healthy,
    measles, monkeypox, smallpox; loose or in a zip file, nested or not, either of them missing. Copies are named
    `aug_ch_0001_0001.jpg`: class, original, copy. Of any name the first number is that of the original in its class.

    Columns: diagnosis (the class folder), origin_id (from the name), case_id (folders and name).
    `part="original"` or `part="augmented"` leaves the rest out.

    Counts: originals: smallpox 358, chickenpox 178, monkeypox 117, cowpox 54, healthy 50, measles 47; copies: 49 of
    each.

    Group key: origin_id, the original's case_id; there are no patient ids.

    Traps: two photographs of one patient are two groups: nothing tells them, but `dermis check` finds pictures that
    look the same. Folds drawn over the copies without origin_id put copies of one picture on both sides. Folds and
    fine-tuning here learn from copies, and choose and score on originals. Another set is called MSID, too: that of
    Bala et al. (770 pictures; monkeypox, chickenpox, measles, normal) comes without copies and is read by `folder`.
    """
    pictures = files.placed()
    pictures["class"] = pictures["folders"].map(lambda names: letters(names[-1]) if names else "")
    if "normal" in (there := set(pictures["class"])) and not there & {"smallpox", "cowpox"}:
        raise ValueError(
            f"{files.root} looks like the other set of that name, by Bala et al. (770 pictures; monkeypox, chickenpox, "
            "measles, normal), and `msid` reads that of Islam et al.: read it with `folder`."
        )
    pictures["place"] = pictures["folders"].map(place)
    elsewhere = int(pictures["place"].isna().sum())
    pictures = pictures[pictures["place"].notna()]
    if pictures.empty:
        raise ValueError(
            f"no pictures of MSID under {files.root}: it has `preprocessed_original_images` and `augmented_images`."
        )
    for name, folders in zip(pictures["class"], pictures["folders"], strict=True):
        if name not in ORIGINALS:
            raise unknown("class folder of MSID", folders[-1], ORIGINALS)
    case_id = pictures["place"] + "/" + pictures["class"] + "/" + pictures["stem"]
    cases = pd.DataFrame(
        {
            "case_id": case_id,
            "origin_id": origin(pictures, case_id),
            "image": pictures["image"],
            "modality": "clinical",
            "diagnosis": pictures["class"],
            "source": "msid",
            "licence": "CC BY-SA 4.0",
        }
    )
    cases, twice = once(cases)
    notes = [f"{elsewhere} pictures are in neither of MSID's two folders and are left out."] if elsewhere else []
    notes += twice
    second = cases["case_id"].str.startswith("original/") & cases["origin_id"].ne(cases["case_id"])
    if second.any():
        notes.append(
            f"{int(second.sum())} originals have the number of another of their class and count as its copies, "
            f"{cases['case_id'][second].iloc[0]} for one."
        )
    notes += parts_unlike_published(cases, PUBLISHED)
    cases, more = only(cases, part)
    return Reading(cases, notes + more)


def place(folders: list[str]) -> str | None:
    """``original`` or ``augmented``, by the first folder that says so; None if none does."""
    return next((PLACES[p] for f in folders for p in PLACES if f.casefold().startswith(p)), None)


def origin(pictures: pd.DataFrame, case_id: pd.Series) -> pd.Series:
    """The original's case_id, by class and number; class and number themselves where it is not on disk."""
    key = pictures["class"] + "/" + pictures["stem"].str.extract(r"0*(\d+)")[0].fillna(pictures["stem"])
    of_original = pictures["place"] == "original"
    first = case_id[of_original].groupby(key[of_original]).first().to_dict()
    return key.map(lambda named: first.get(named, named))
