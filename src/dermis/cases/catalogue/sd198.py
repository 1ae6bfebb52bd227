"""SD-198 and SD-128: clinical photographs of an online atlas (Sun et al. 2016)."""

import re

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import readable
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.release import once, unlike_published
from dermis.language.prompts import class_list
from dermis.registry import unknown

FOLDS = "8_2_split"
SIDES = {"train": "train", "val": "valid"}
PUBLISHED = {"SD-198": {"pictures": 6584, "classes": 198}, "SD-128": {"pictures": 5619, "classes": 128}}


@reader("sd198")
def sd198(files: Files, fold: str | None = None) -> Reading:
    """SD-198: 6,584 clinical photographs of the atlas DermQuest, 198 conditions.

    Source: Sun et al., ECCV 2016 (doi 10.1007/978-3-319-46466-4_13); cv.nankai.edu.cn/projects/SD-198. That the
    pictures are from DermQuest, which is closed, is said by github.com/whria78/can.

    Licence: any research and academic purpose, by the authors' page, for those who sent in its form.

    Obtain: fill in the request form of xiaopingwu.cn/assets/projects/sd-198 and mail it to the authors.

    On disk: `images/<class>/*.jpg` (`images/Acne_Vulgaris/032206VB.jpg`), loose or in a zip file, nested or not;
    `8_2_split/train_<k>.txt` and `val_<k>.txt` with a line `<class>/<file> <number of the class>` per picture.

    Columns: diagnosis (the class folder, _ as space, in lower case, as the class list `sd-128` has it), case_id (class
    folder and file name), split with `fold=<k>` (train_<k> is train, val_<k> valid); without it there is none.

    Counts: 6,584 pictures, 198 classes: basal cell carcinoma 61, xerosis 39, becker's nevus 18, balanitis xerotica
    obliterans 12, ... Which folds there are is seen on disk.

    Group key: none, each picture is a group of its own: names are numbers of the atlas.

    Traps: an atlas shows patients and lesions several times, so near-duplicates are on both sides of the published
    folds: run `dermis check`. 70 classes have 20 pictures or fewer; SD-128 leaves them out. Other archives of the set
    have no `8_2_split` but `images.txt` and `classes.txt`, which are not needed; `5_5_split` and splits by class that
    others made are not read.
    """
    return read(files, "SD-198", fold)


@reader("sd128")
def sd128(files: Files, fold: str | None = None) -> Reading:
    """SD-128: the 128 larger classes of SD-198, 5,619 clinical photographs.

    Source: as `sd198`; the classes are those of the list that MAKE and DermFM-Zero test on (`sd-128`).

    Licence: as `sd198`.

    Obtain: as `sd198`; the authors' page names it as a subset, and it comes in a folder of its own, too.

    On disk: as `sd198`, whole or with the 128 class folders only; the others are left out, and a note says so.

    Columns: as `sd198`.

    Counts: 5,619 pictures; the classes with "more than 20" pictures, by the authors' page.

    Group key: none, as for `sd198`.

    Traps: as `sd198`. O-MAKE's linear probes train on 3,933 of them, choose on 281 and test on 1,405: that is another
    split than the published folds, and its table is read with `split=`.
    """
    return read(files, "SD-128", fold)


def read(files: Files, what: str, fold: str | None) -> Reading:
    """The cases of SD-198 or SD-128 with the sides of one fold."""
    pictures = files.placed()
    folder = pictures["folders"].str[-1].fillna("")
    cases = pd.DataFrame(
        {
            "case_id": folder + "/" + pictures["stem"],
            "image": pictures["image"],
            "modality": "clinical",
            "diagnosis": readable(folder),
            "source": what.casefold().replace("-", ""),
            "licence": "research and academic purposes (request form)",
        }
    )
    larger = cases["diagnosis"].isin(class_list("sd-128"))
    if not larger.any():
        raise ValueError(f"no pictures of {what} under {files.root}: it has `images/<class>`, such as Acne_Vulgaris.")
    notes = []
    if what == "SD-128" and not larger.all():
        notes.append(f"{int((~larger).sum())} pictures are in none of the 128 classes and are left out.")
        cases = cases[larger]
    cases, twice = once(cases, cases["case_id"].str.casefold())
    found = {"pictures": len(cases), "classes": cases["diagnosis"].nunique()}
    notes += twice + unlike_published(found, PUBLISHED[what])
    if fold is None:
        return Reading(cases, notes)
    sides = sides_of(files, str(fold), what)
    cases["split"] = cases["case_id"].str.casefold().map(sides).astype(object)
    if without := int(cases["split"].isna().sum()):
        notes.append(f"{without} pictures are in neither list of fold {fold} and have no split.")
    if absent := len(set(sides) - set(cases["case_id"].str.casefold())):
        notes.append(f"fold {fold} lists {absent} pictures that are not among the cases.")
    return Reading(cases, notes)


def sides_of(files: Files, fold: str, what: str) -> dict[str, str]:
    """Class folder and file name, in lower case -> side; raises ValueError for a fold that is not there or is torn."""
    lists = {path.stem.casefold(): path for path in files.tables if path.parent.name.casefold() == FOLDS}
    there = sorted({name.removeprefix("train_") for name in lists if name.startswith("train_")})
    if fold not in there:
        raise unknown(f"fold of {what} (in {FOLDS})", fold, there)
    sides: dict[str, str] = {}
    for name, side in SIDES.items():
        if f"{name}_{fold}" not in lists:
            raise ValueError(f"{FOLDS} has no {name}_{fold}.txt under {files.root}.")
        for line in lists[f"{name}_{fold}"].read_text(encoding="utf-8-sig").splitlines():
            # the path may have spaces, the number of the class behind it has none
            if match := re.fullmatch(r"(?:.*/)?([^/]+/[^/]+?)\.\w+\s+\d+", line.strip().replace("\\", "/")):
                key = match[1].casefold()
                if sides.setdefault(key, side) != side:
                    raise ValueError(f"fold {fold} of {what} has {match[1]} in train and in val.")
    return sides
