"""SLIMP, its levels and rivals on the frozen synthetic patients: same tower, pixels, cases seen and steps.

    python benchmarks/synthetic_patients.py runs/synthetic_patients [--seeds 3] [--jobs 2]

Every run is `dermis train` with a recipe that this writes into the folder: recipes/slimp_synthetic.yaml with a row's
changes, one thread, from random weights. What is there already is not run again. Malignant against benign on the test
split, by logistic regression on frozen features: a draw of 1 % or 10 % of the training cases of each class (mean over 5
draws), or all. Cells: mean over seeds of the AUROC, in brackets the mean ends of the 95 % interval (300 draws of
patients and of cases), after it the lowest and highest seed.
"""

import json
from pathlib import Path
from typing import Annotated

import tyro
import yaml
from recipe_runs import Figure, run_all, table

from dermis.cases.synthetic.evaluation_sets import make_evaluation_set
from dermis.recipe import overlay, read_yaml

RECIPE = Path(__file__).parents[1] / "recipes" / "slimp_synthetic.yaml"
ROWS = {
    "nested": {},
    "flat": {"method": {"levels": "flat"}},
    "lesion only": {"method": {"levels": "lesion"}},
    "patient only": {"method": {"levels": "patient"}},
    "SimCLR, pictures only": {
        "data": {"lesions": None, "augmentation": "simclr"},
        "method": {"name": "simclr", "width": None},
        "training": {"batch_size": 76},  # as many as 32 patients bring along
    },
}
INITIAL = "initial weights"
INPUTS = {"image": "", "table": ", table", "image and table": ", image and table",
          "image and extrapolated": ", image and extrapolated table",
          "image and shuffled": ", image and shuffled table"}  # fmt: skip
SHARES = {"1 %": "low-shot, 1% of training", "10 %": "low-shot, 10% of training", "all": "linear probe"}


def recipe(name: str, changes: dict) -> dict:
    """The recipe of a row; a setting that is None there is taken out."""
    mapping = overlay(read_yaml(RECIPE), changes)
    mapping["method"] = {k: v for k, v in mapping["method"].items() if v is not None}
    return mapping | {"name": name.split(",")[0].replace(" ", "_").lower()}


def figures(folder: Path, untrained: bool) -> dict[str, Figure]:
    """Protocol -> AUROC and the ends of its interval, of the model after or before training."""
    found = json.loads((folder / "report" / "report.json").read_text())["entries"]
    return {
        e["protocol"]: (e["value"], e["low"], e["high"])
        for e in found
        if e["metric"] == "macro AUROC" and not e["class_name"] and (e["model"] == "untrained") == untrained
    }


def main(out: Annotated[Path, tyro.conf.arg(name="out")], /, seeds: int = 3, jobs: int = 2) -> None:
    """Run what is missing and print the tables."""
    cases = out / "cases" / "cases.parquet"
    if not cases.is_file():
        make_evaluation_set("standard", cases.parent)
    folder, wanted = {}, []
    for i, (name, changes) in enumerate(ROWS.items()):
        path = out / f"{i}.yaml"
        path.write_text(yaml.safe_dump(recipe(name, changes), sort_keys=False))
        for seed in range(seeds):
            folder[name, seed] = out / f"{i}-seed{seed}"
            shared = ["--data.manifest", str(cases), "--data.cache", str(out / "embeddings")]
            arguments = ["train", str(path), *shared, "--training.seed", str(seed)]
            wanted.append((seed, (folder[name, seed], f"{name}, seed {seed}", arguments)))
    run_all(jobs, [run for _, run in sorted(wanted, key=lambda one: one[0])])

    for share, protocol in SHARES.items():

        def of_row(name: str, seed: int, protocol: str = protocol) -> dict[str, Figure]:
            place = folder["nested" if name == INITIAL else name, seed]
            found = figures(place, untrained=name == INITIAL)
            return {title: found[protocol + end] for title, end in INPUTS.items() if protocol + end in found}

        print(f"\nAUROC, {share} of the labels\n")
        print(table([*ROWS, INITIAL], list(INPUTS), seeds, of_row))


if __name__ == "__main__":
    tyro.cli(main)
