"""dermis calibrate"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import tyro

from dermis.commands.arguments import ManifestFile, Model, called, loaded, typed
from dermis.decision.rules import Rules


def calibrate(
    model: Model,
    manifest: ManifestFile,
    classes: tuple[str, ...] = (),
    root: Path | None = None,
    cache: Path = Path("runs/embeddings"),
    rules: tyro.conf.OmitArgPrefixes[Rules] = Rules(),  # noqa: B008 (frozen)
) -> int:
    """Teach a model to decide, with probabilities that can be believed, sets of possible diagnoses, and "not sure".

    On the split `train` a logistic probe is learnt, on `valid` the temperature, the thresholds of the sets and the
    scale of strangeness; on `test` all is measured, by skin tone, sex, age and source where they are known.

    The decision is kept in the model's folder (decision/), for `dermis.decide`. The sets hold the true diagnosis of at
    least 1 - alpha of patients like these; nothing is promised of other clinics, cameras or diseases.

    Args:
        model: a model folder (dermis or open_clip), or local-dir:FOLDER
        manifest: cases.parquet or cases.csv with the columns `split` and `diagnosis`
        classes: diagnoses to decide between (none: all of the manifest); cases of others take no part
        root: image root, if not the one that the manifest records
        cache: where embeddings of pictures are kept between runs
        rules: what is promised and what counts as "not sure"
    """
    from dermis.cases.manifest import Manifest
    from dermis.decision.calibrate import calibrate as fit
    from dermis.decision.calibrate import lines
    from dermis.decision.decider import local_folder
    from dermis.decision.stored import write
    from dermis.model.embed import embed_cases
    from dermis.model.folder import name_of
    from dermis.progress import counting

    folder, cases = local_folder(model), Manifest.read(manifest, root)
    tower = loaded(model)
    with counting("embedding pictures") as progress:
        decision, report = fit(
            tower,
            cases,
            rules,
            embed=partial(embed_cases, tower, cache=cache, progress=progress),
            classes=classes,
            name=name_of(model),
            dataset=manifest.stem,
            command=typed(),
        )
    kept = write(decision, folder, report.json())
    sys.stdout.write("\n".join([*lines(decision, report), f"decision: {kept}"]) + "\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis calibrate`"""
    return called(calibrate, "calibrate", arguments)
