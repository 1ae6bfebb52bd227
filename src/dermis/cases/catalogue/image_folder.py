"""A folder of pictures per class."""

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.given_split import SPLIT_NAMES
from dermis.cases.catalogue.reader import Reading, reader


@reader("folder")
def image_folder(
    files: Files, modality: str | None = None, source: str | None = None, licence: str | None = None
) -> Reading:
    """A folder of pictures per class, with or without folders train, valid and test above.

    Source: yours (the MSID of Bala et al. and many others come like this).

    Licence: yours; state it with `licence=`.

    Obtain: it is your own, or a set that comes like this.

    On disk: `<class>/*.jpg`, `train/<class>/*.jpg` and `test/<class>/*.jpg`, or a zip file of either, of a class or of
    a side (`train.zip`); folders around all of it are skipped, folders within a class belong to it.

    Columns: diagnosis (the folder's name, _ as space), split (train, valid, test from the folder above), case_id (the
    path); modality, source and licence can be given for all.

    Counts: those of the folder.

    Group key: none, each picture is a group of its own.

    Traps: several pictures of one patient are then on both sides of a split; if the file names tell the patient, use
    the reader `csv` with a patient_id column. Pictures that lie in no class folder are imported without diagnosis.
    """
    if not files.pictures:
        raise ValueError(f"there are no pictures under {files.root}.")
    # train.zip often holds a folder train, and a class folder one of its own name: the two are one
    folders = [
        [name for name, above in zip(p, ["", *p], strict=False) if name != above] for p in files.placed()["folders"]
    ]
    while all(len(parts) > 1 for parts in folders) and len({parts[0] for parts in folders}) == 1:
        if folders[0][0].casefold() in SPLIT_NAMES:
            break
        folders = [parts[1:] for parts in folders]
    has_splits = all(parts and parts[0].casefold() in SPLIT_NAMES for parts in folders)
    splits = [SPLIT_NAMES[parts[0].casefold()] if has_splits else None for parts in folders]
    classes = [parts[1:] if has_splits else parts for parts in folders]
    cases = {
        "case_id": files.pictures,
        "image": files.pictures,
        "modality": modality,
        "diagnosis": [parts[0].replace("_", " ") if parts else None for parts in classes],
        "split": splits,
        "source": source or files.root.resolve().name,
        "licence": licence,
    }
    loose = sum(not parts for parts in classes)
    notes = [f"{loose} pictures lie in no class folder and have no diagnosis."] if loose else []
    return Reading(pd.DataFrame(cases), notes)
