"""A tree in Derm7pt's layout with its real tables and drawn pictures, to try everything before the pictures are there.

python examples/derm7pt_stand_in.py META OUT [SIDE]     META holds meta.csv and the three index tables

The pictures are the synthetic skin (nobody's) and know nothing of the labels: every AUC on them is about 0.5.
"""

import shutil
import sys
from pathlib import Path

import pandas as pd
import simplejpeg

from dermis.cases.synthetic import latent_cases
from dermis.cases.synthetic.render import clinical, dermoscopic


def stand_in(meta: Path, out: Path, side: int = 64) -> Path:
    """Write OUT/release_v0/meta and OUT/release_v0/images; returns OUT."""
    tables = out / "release_v0" / "meta"
    tables.mkdir(parents=True, exist_ok=True)
    for name in ("meta", "train_indexes", "valid_indexes", "test_indexes"):
        shutil.copy(meta / f"{name}.csv", tables)
    rows = pd.read_csv(tables / "meta.csv", dtype=str)
    for case, clinic, derm in zip(latent_cases(cases=len(rows), seed=7), rows["clinic"], rows["derm"], strict=True):
        for name, picture in ((clinic, clinical(case, side)), (derm, dermoscopic(case, side))):
            path = out / "release_v0" / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(simplejpeg.encode_jpeg(picture))
    return out


if __name__ == "__main__":
    print(stand_in(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:4])))
