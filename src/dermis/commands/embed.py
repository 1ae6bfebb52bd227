"""dermis embed"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dermis.commands.arguments import ManifestFile, Model, called, loaded


def embed(
    model: Model,
    manifest: ManifestFile,
    out: Path = Path("embeddings"),
    root: Path | None = None,
    stage: Literal["projected", "trunk"] | None = None,
    column: str | None = None,
    batch_size: int = 64,
    workers: int = 2,
) -> int:
    """Write the embeddings of a manifest's pictures into a folder: vectors.npy, and cases.parquet row by row with it.

    Pictures that cannot be opened are named and left out. Interrupted, the same command goes on; of a manifest that
    grew, only pictures are embedded whose bytes this model has not seen. `dermis search` looks in the folder.

    Args:
        model: a model folder (dermis or open_clip), local-dir:FOLDER or hf-hub:ORG/REPO
        manifest: cases.parquet or cases.csv
        out: the folder
        root: image root, if not the one the manifest records
        stage: `projected` lies in the space shared with texts, the default of a model of pictures and texts; `trunk` is
            the image tower's own vector, for probes, and the default of others
        column: the picture column (image); a model of two pictures looks at both, side by side
        batch_size: pictures that the model looks at together
        workers: threads that open pictures
    """
    from dermis.cases.manifest import Manifest
    from dermis.progress import counting
    from dermis.search.embedding import write_embeddings

    cases = Manifest.read(manifest, root)
    tower = loaded(model)
    with counting("embedding pictures") as progress:
        written = write_embeddings(
            out, tower, cases, source=model, stage=stage, column=column, batch_size=batch_size, workers=workers,
            progress=progress,
        )  # fmt: skip
    ids = cases.table["case_id"].to_numpy(dtype=str)
    for row, reason in written.left_out.items():
        sys.stdout.write(f"left out: {ids[row]}: {reason}\n")
    count, dim = written.embeddings.vectors.shape
    sys.stdout.write(f"{count} embeddings of {dim} numbers in {out}; {written.new} pictures were new\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis embed`"""
    return called(embed, "embed", arguments)
