"""dermis embed"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro


def embed(
    model: tyro.conf.Positional[str],
    manifest: tyro.conf.Positional[Path],
    out: Path = Path("embeddings.npz"),
    root: Path | None = None,
    stage: Literal["projected", "trunk"] | None = None,
    column: str = "image",
) -> int:
    """Write the embeddings of a manifest's pictures: `case_id` and `embedding`, one row a case, as a NumPy .npz file.

    Pictures that cannot be opened are named and left out.

    Args:
        model: a model folder (dermis or open_clip), local-dir:FOLDER or hf-hub:ORG/REPO
        manifest: cases.parquet or cases.csv
        out: the file to write
        root: image root, if not the one the manifest records
        stage: `projected` lies in the space shared with texts, the default of a model of pictures and texts; `trunk` is
            the image tower's own vector, for probes, and the default of others
        column: the picture column; a model of two pictures looks at both, side by side
    """
    import numpy as np

    from dermis.cases.manifest import Manifest
    from dermis.model import load
    from dermis.model.embed import embed_cases
    from dermis.progress import counting
    from dermis.towers.two_tower import TwoTower

    tower = load(model)
    if stage == "projected" and not isinstance(tower, TwoTower):
        raise ValueError("--stage projected needs a model of pictures and texts; this one has --stage trunk only.")
    stage = stage or ("projected" if isinstance(tower, TwoTower) else "trunk")
    cases = Manifest.read(manifest, root)
    with counting("embedding pictures") as progress:
        chosen = {} if column == "image" else {"column": column}  # a model of pairs knows its columns
        embedding_ND, ok_N = embed_cases(tower, cases, stage=stage, progress=progress, **chosen)
    ids = cases.table["case_id"].to_numpy(dtype=str)
    np.savez(out, case_id=ids[ok_N], embedding=embedding_ND[ok_N])
    for case in ids[~ok_N]:
        sys.stdout.write(f"left out, its picture cannot be opened: {case}\n")
    sys.stdout.write(f"{int(ok_N.sum())} embeddings of {embedding_ND.shape[1]} numbers in {out}\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis embed`"""
    return tyro.cli(embed, args=list(arguments), prog="dermis embed")
