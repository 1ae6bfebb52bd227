"""dermis extrapolate"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dermis.cases.manifest import FORMATS, Manifest
from dermis.commands.arguments import ManifestFile, Model, called, loaded, typed
from dermis.progress import counting


def extrapolate(
    model: Model,
    manifest: ManifestFile,
    reference: Path,
    out: Path,
    columns: tuple[str, ...] = (),
    k: int = 1,
    weighting: Literal["uniform", "similarity"] = "uniform",
    near_duplicate: float | None = None,
    pictures: bool = True,
    overwrite: bool = False,
    root: Path | None = None,
    reference_root: Path | None = None,
    cache: Path = Path("runs/embeddings"),
    seed: int = 0,
) -> int:
    """Give cases of which there is only a picture the lesion's and patient's columns of the case that looks most alike.

    Sources are the reference's training cases (all, if it has no splits). No case takes from its own patient, lesion
    or original picture, nor from an equal or near-equal picture. What a case knows itself stays.

    OUT is the manifest with its gaps filled; beside it OUT.sources.csv names each case's source and their cosine. Where
    the manifest knows true values, the copies are compared with them (OUT.copies.csv) and with copies from random
    sources: trust a column only as far as it is better than those.

    Args:
        model: a model folder (dermis or open_clip), local-dir:FOLDER or hf-hub:ORG/REPO; its image tower compares
        manifest: cases.parquet or cases.csv: the cases to complete
        reference: manifest of the cases to take from
        out: the completed manifest, .parquet or .csv
        columns: lesion.NAME and patient.NAME to take; none: all that the reference knows, if none of them gives the
            diagnosis away
        k: how many similar cases say what a value is; 1 copies, more vote (categories) or are averaged (numbers)
        weighting: with k above 1, do all count alike, or by their similarity?
        near_duplicate: cosine (above 0, at most 1) from which on a picture counts as the same and is no source
        pictures: open the pictures to find equal and near-equal ones; without, only ids are looked at
        overwrite: replace what a case knows itself too
        root: image root of the manifest, if not the one that it records
        reference_root: image root of the reference, if not the one that it records
        cache: where embeddings of pictures are kept between runs
        seed: of the random sources and the intervals
    """
    from dermis.cases.kinship import same_pictures
    from dermis.evaluation.extrapolation import NONE, columns_to_take
    from dermis.evaluation.extrapolation import extrapolate as take
    from dermis.evaluation.extrapolation_agreement import agreement, agreement_lines
    from dermis.model.embed import embed_cases
    from dermis.model.folder import name_of

    if out.suffix.lower() not in FORMATS:
        raise ValueError(f"a manifest is a {' or '.join(FORMATS)} file, and {out} is not named like one.")
    if out.resolve() in {manifest.resolve(), reference.resolve()}:
        raise ValueError(f"{out} is also read: copies must not pass for what was known, choose another name.")
    cases, known = Manifest.read(manifest, root), Manifest.read(reference, reference_root)
    known = known.split("train") if "split" in known else known
    chosen = columns_to_take(cases, known, columns or None)
    tower = loaded(model)
    with counting("embedding pictures") as progress:
        vectors = [embed_cases(tower, some, cache=cache, progress=progress)[0] for some in (cases, known)]
    same_P2 = None
    if pictures:
        with counting("looking for equal pictures") as progress:
            same_P2 = same_pictures(cases, known, progress=progress)
    found = take(
        vectors[0], cases, vectors[1], known, chosen,
        k=k, weighting=weighting, near_duplicate=near_duplicate, same_P2=same_P2,
    )  # fmt: skip
    shared = {
        "model": name_of(model),
        "dataset": manifest.stem,
        "split": "all",
        "seed": seed,
        "command": typed(),
    }
    entries, (section,) = agreement(found, cases.table, shared, seed=seed)
    found.filled(overwrite=overwrite).write(out)
    found.sources().to_csv(out.with_suffix(".sources.csv"), index=False)
    if entries:
        assert section.table is not None
        section.table.to_csv(out.with_suffix(".copies.csv"), index=False)
    without = int((found.source[:, 0] == NONE).sum())
    lines = agreement_lines(entries) or ["no true value in the manifest to compare the copies with."]
    if without:
        lines.append(f"{without} of {len(cases)} cases have no source: no readable picture, or nobody but kin.")
    lines.append(f"{len(found.columns)} columns from {len(known)} reference cases in {out}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis extrapolate`"""
    return called(extrapolate, "extrapolate", arguments)
