"""CLIP, SigLIP, CoCa and the rows of MAKE's ablation on the frozen synthetic skin: same tower, pixels, steps.

    python benchmarks/synthetic_texts.py runs/synthetic_texts [--seeds 3] [--jobs 2]

Every run is `dermis train make_synthetic` with other settings, one thread, from random weights. What is there already
is not run again. Prints a Markdown table: mean over seeds, in brackets the mean ends of the 95 % patient bootstrap (300
draws), after it the lowest and highest seed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from recipe_runs import Figure, run_all, table

from dermis.cases.synthetic.evaluation_sets import make_evaluation_set

CLIP = ["--method.name", "clip", "--method.duplicates", "shared"]
NO_SLRA, NO_DKW = ["--method.lambda-s", "0"], ["--method.weights", "none"]
JOINED = ["--data.texts", "disease_text", "concept_text", "caption", "--data.join-texts"]
ROWS = {
    "CLIP, raw captions": CLIP,
    "CLIP, augmented captions": [*CLIP, *JOINED],
    "SigLIP, raw captions": ["--method.name", "siglip", "--method.duplicates", "shared",
                             "--model.logit-scale-init", "10", "--model.logit-bias-init", "-10"],
    "CoCa, raw captions": ["--method.name", "coca", "--method.duplicates", "shared",
                           "--method.decoder-layers", "2", "--method.queries", "9"],
    "MAKE: mkcl, knowledge set": ["--method.num-sentences", "0", *NO_SLRA, *NO_DKW],
    "MAKE: mkcl with sentences": [*NO_SLRA, *NO_DKW],
    "MAKE: mkcl, slra": NO_DKW,
    "MAKE: mkcl, slra, dkw": [],
    "MAKE, as released": ["--method.as-released"],
}  # fmt: skip
HELD_OUT = ("basal cell carcinoma", "cherry angioma")
COLUMNS = ("prompts, 10 trained", "held out, by name", "held out, described", "concepts", "i2t R@10", "t2i R@10")


def figures(report: dict) -> Iterator[tuple[str, Figure]]:
    """Column -> value and ends of its interval, for the trained model of a run's report."""
    trained, known, named, described = [], [], [], []
    for e in report["entries"]:
        found = (e["value"], e["low"], e["high"])
        if e["model"] == "untrained" or e.get("subgroup"):
            continue
        trained.append(e)
        prompted = e["metric"] == "AUROC" and e["protocol"].startswith(("prompt classification", "zero-shot"))
        if prompted and "synonyms" in e["protocol"] and e["class_name"] in HELD_OUT:
            described.append(found)
        elif prompted and "synonyms" not in e["protocol"]:
            (named if e["class_name"] in HELD_OUT else known).append(found)
        elif e["protocol"].startswith("concept") and e["metric"] == "macro AUROC":
            yield "concepts", found
        elif e["metric"] == "recall@10":
            yield ("i2t R@10" if e["protocol"].startswith("image") else "t2i R@10"), found
    for column, several in zip(COLUMNS, (known, named, described), strict=False):
        yield column, tuple(np.mean(several, axis=0))


def main(out: Annotated[Path, tyro.conf.arg(name="out")], /, seeds: int = 3, jobs: int = 2) -> None:
    """Run what is missing and print the table."""
    cases = out / "cases" / "cases.parquet"
    if not cases.is_file():
        make_evaluation_set("standard", cases.parent)
    folder = {(name, seed): out / f"{i}-seed{seed}" for i, name in enumerate(ROWS) for seed in range(seeds)}
    wanted = sorted(folder, key=lambda one: one[0].startswith("CoCa"))  # the slowest, by its softmax, come last
    start = ["train", "make_synthetic", "--data.manifest", str(cases)]
    run_all(jobs, [
        (folder[name, seed], f"{name}, seed {seed}", [*start, *ROWS[name], "--training.seed", str(seed)])
        for name, seed in wanted
    ])  # fmt: skip

    def of_run(name: str, seed: int) -> dict[str, Figure]:
        return dict(figures(json.loads((folder[name, seed] / "report" / "report.json").read_text())))

    print(table(list(ROWS), COLUMNS, seeds, of_run))


if __name__ == "__main__":
    tyro.cli(main)
