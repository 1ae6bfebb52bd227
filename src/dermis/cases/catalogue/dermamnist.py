"""DermaMNIST (Yang et al. 2021, 2023): HAM10000 as small pictures in one NumPy file."""

from pathlib import Path

import numpy as np
import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.given_split import SPLIT_NAMES
from dermis.cases.catalogue.labels import named
from dermis.cases.catalogue.reader import Reading, reader
from dermis.pictures.npz import stacks_in
from dermis.registry import unknown

CLASSES = {
    "0": "actinic keratosis",
    "1": "basal cell carcinoma",
    "2": "benign keratosis",
    "3": "dermatofibroma",
    "4": "melanoma",
    "5": "nevus",
    "6": "vascular",
}
"""MedMNIST's labels -> the names that HAM10000 has here"""
PARTS = ("train", "val", "test")
PUBLISHED = {"DermaMNIST": (7007, 1003, 2005), "DermaMNIST-C, the corrected one": (8215, 573, 1227)}


@reader("dermamnist")
def dermamnist(files: Files, size: int = 0) -> Reading:
    """DermaMNIST: the 10,015 dermoscopic pictures of HAM10000 at 28, 64, 128 or 224 pixels, 7 classes.

    Source: Yang et al., Scientific Data 10, 41 (2023), and ISBI 2021; github.com/MedMNIST/MedMNIST.

    Licence: CC BY-NC 4.0.

    Obtain: download `dermamnist.npz` or `dermamnist_224.npz` from doi 10.5281/zenodo.10519652; no account is needed.
    The package `medmnist` downloads the same files. The corrected split is at doi 10.5281/zenodo.11101337.

    On disk: `dermamnist.npz` (28 pixels), `dermamnist_64.npz`, `_128`, `_224`, left as they are: a picture is a row of
    an array, `dermamnist_224.npz!/train_images/17`. Of several the largest is read; `size=28` takes another.
    DermaMNIST-C's `dermamnist_corrected_224.npz` is read as well.

    Columns: diagnosis (the arrays `train_labels`, `val_labels`, `test_labels`), split (val becomes valid).

    Counts: 7,007 train, 1,003 valid, 2,005 test; of DermaMNIST-C 8,215, 573 and 1,227.

    Group key: none, each picture is a group of its own: the files say neither lesion nor HAM10000's image id.

    Traps: the split leaks: 13.5 % of the lesions have pictures on more than one side (Abhishek et al., Scientific Data
    12, 196 (2025)), and nothing in the files tells which. DermaMNIST-C keeps each lesion on one side. All pictures are
    in HAM10000, ISIC 2018 and ISIC 2019: never train on one and test on the other. The published files are deflated, so
    each process that reads pictures holds an array: 1 GB for the train pictures at 224 pixels. Saved again with
    `numpy.savez`, they are read from disk row by row.
    """
    place = chosen(files, size)
    parts = []
    with np.load(files.root / place, allow_pickle=False) as arrays:
        stacks = stacks_in(str(files.root / place))
        for part in PARTS:
            if f"{part}_labels" not in arrays or f"{part}_images" not in stacks:
                raise ValueError(f"{place} lacks {part}_images or {part}_labels: is it DermaMNIST?")
            labels = pd.Series(arrays[f"{part}_labels"].reshape(-1).astype(str))
            if len(labels) != (pictures := stacks[f"{part}_images"].shape[0]):
                raise ValueError(f"{place} has {pictures} {part}_images and {len(labels)} {part}_labels.")
            parts.append(pd.DataFrame({"part": part, "row": labels.index.astype(str), "label": labels}))
    table = pd.concat(parts, ignore_index=True)
    cases = {
        "case_id": table["part"] + "_" + table["row"],
        "image": f"{place}!/" + table["part"] + "_images/" + table["row"],
        "modality": "dermoscopic",
        "diagnosis": named(table["label"], CLASSES, "label of DermaMNIST"),
        "split": table["part"].map(SPLIT_NAMES),
        "source": "dermamnist",
        "licence": "CC BY-NC 4.0",
    }
    found = tuple(len(part) for part in parts)
    if found in PUBLISHED.values():
        return Reading(pd.DataFrame(cases), [])
    known = "; ".join(f"{name}: {' '.join(map(str, counts))}" for name, counts in PUBLISHED.items())
    said = f"train, val and test have {' '.join(map(str, found))} pictures, not as many as published ({known})."
    return Reading(pd.DataFrame(cases), [said])


def chosen(files: Files, size: int) -> str:
    """The file to read: that with pictures of ``size`` pixels, or the largest; raises ValueError if there is no one."""
    places = {path.partition("!/")[0] for path in files.pictures if path.endswith("!/train_images/0")}
    asked = {t.name for t in files.tables if t.suffix.lower() == ".npz"}  # a file was given, not a folder
    named_so = {place for place in places if Path(place).name.casefold().startswith("dermamnist")}
    places = places & asked or named_so
    if not places:
        raise ValueError(f"no DermaMNIST under {files.root}: it is one file, dermamnist.npz or dermamnist_224.npz.")
    sizes = {place: stacks_in(str(files.root / place))["train_images"].shape[1] for place in sorted(places)}
    wanted = size or max(sizes.values())
    fitting = [place for place, pixels in sizes.items() if pixels == wanted]
    if not fitting:
        raise unknown("size", size, map(str, sizes.values()))
    if len(fitting) > 1:
        raise ValueError(f"{' and '.join(fitting)} both have pictures of {wanted} pixels: give the file itself.")
    return fitting[0]
