"""Lists of cases to keep: a published test list, or an evaluation set without what leaked into pre-training.

A list is a CSV (or TSV) with one picture a row in the column `image_path`, `filename` or `image`, as the
leakage-deduplicated tables of DermFM-Zero have it. Folders and extensions may differ from the manifest's.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from dermis.cases.csv_table import read_csv_table
from dermis.cases.manifest import Manifest

COLUMNS = ("image_path", "filename", "image")


def keep_listed(manifest: Manifest, path: Path, split: str = "all") -> tuple[Manifest, str]:
    """The manifest without the cases of ``split`` that the list lacks, and a sentence on how many those are.

    Cases of other splits stay: probes learn from them. Pictures are compared by name without extension, in any case;
    where that is not unique in the manifest, with as many of their folders as it takes. Raises ValueError for a list
    without such a column, for pictures that stay ambiguous, for a list with none of the cases, and where there is no
    list or no such split.
    """
    if not path.is_file():
        raise ValueError(f"there is no list at {path}.")
    scored = manifest if split == "all" else manifest.split(split)
    table = read_csv_table(path)
    column = next((c for c in COLUMNS if c in table), None)
    if column is None:
        raise ValueError(f"{path} has none of the columns {', '.join(COLUMNS)}; it has {', '.join(table)}.")
    images = manifest.table["image"].fillna("").tolist()
    listed = [name for name in table[column] if isinstance(name, str)]
    for depth in range(1, 1 + max(len(_parts(image)) for image in images)):
        names = [_parts(image)[-depth:] for image in images]
        if len(set(names)) == len(set(images)):
            break
    else:
        raise ValueError(f"pictures of the manifest cannot be told apart by name, so {path} says nothing about them.")
    wanted = {_parts(name)[-depth:] for name in listed}
    on_list_N = np.array([name in wanted for name in names])
    scored_N = manifest.table["case_id"].isin(scored.table["case_id"]).to_numpy(dtype=bool)
    kept = int((on_list_N & scored_N).sum())
    if not kept:
        raise ValueError(f"{path} lists none of the {len(scored)} cases: its first is {listed[:1]}.")
    absent = len(wanted - set(names))
    note = f"{kept} of {len(scored)} cases are on the list {path.name}"
    note += f"; {absent} of its pictures are not in the manifest." if absent else "."
    return manifest.select(on_list_N | ~scored_N), note


def _parts(path: str) -> tuple[str, ...]:
    """("images", "a") of images.zip!/images/A.jpg and images/a.png."""
    inside = PurePosixPath(path.rpartition("!/")[2].casefold())
    return (*inside.parts[:-1], inside.stem)
