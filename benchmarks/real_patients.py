"""SLIMP and its rivals on real pictures and tables: HAM10000 and what is public of PAD-UFES-20, from one ViT's weights.

    python benchmarks/real_patients.py OUT HAM10000 PAD-UFES-20 WEIGHTS [--seeds 3] [--jobs 2]

``HAM10000`` holds the set with `split_lesion_grouped.csv`; ``PAD-UFES-20`` a `manifest.csv` of the pictures that are
there (columns file, img_id, kind) beside the official `metadata.csv`: photographs and pictures of the lesion alone are
cases of their own. ``WEIGHTS``: DINOv2's ViT-S/14 as timm names it. A row is pre-trained on the training part without
labels, at few pixels so that a run takes minutes on one core; what is there already is not run again. Then the features
are frozen, and the diagnosis, and malignant against benign, are read off pictures, tables, both, and pictures with the
metadata of the nearest training picture or of any. No patient (HAM10000: lesion) is on two sides. Cells as in
synthetic_patients.py.
"""

import json
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro
import yaml
from recipe_runs import Figure, run_all, table

from dermis.cases.catalogue import import_set
from dermis.cases.manifest import Manifest
from dermis.cases.split import split
from dermis.recipe import overlay

INPUTS = {"image": "", "table": ", table", "image and table": ", image and table",
          "image and extrapolated": ", image and extrapolated table",
          "image and shuffled": ", image and shuffled table"}  # fmt: skip
PROTOCOLS = ("low-shot, 1% of training", "low-shot, 10% of training", "linear probe", "kNN")
BASE: dict[str, Any] = {
    "data": {"augmentation": "light", "corruption": 0.3, "lesions": 4},
    "model": {"image": {"name": "vit_small_patch14_dinov2.lvd142m"}, "paired": False},
    "training": {"lr": 5.0e-5, "weight_decay": 0.05, "warmup": 0.1, "workers": 0},
    "evaluation": {"protocols": ["linear_probe", "knn", "low_shot", "similar"], "probe_features": "trunk",
                   "inputs": ["image", "table", "both", "extrapolated", "shuffled"],
                   "low_shot_fractions": [0.01, 0.1], "n_boot": 200, "pictures": 0, "subgroups": []},
}  # fmt: skip
SETS: dict[str, dict[str, Any]] = {
    "ham10000": {"model": {"image": {"size": 56}}, "training": {"epochs": 1, "batch_size": 48}},
    "pad_ufes_20": {"model": {"image": {"size": 56}}, "training": {"epochs": 4, "batch_size": 24}},
}
ROWS: dict[str, dict[str, Any]] = {
    "nested": {"method": {"name": "slimp"}},
    "flat": {"method": {"name": "slimp", "levels": "flat"}},
    "lesion only": {"method": {"name": "slimp", "levels": "lesion"}},
    "patient only": {"method": {"name": "slimp", "levels": "patient"}},
    "SimCLR": {"method": {"name": "simclr"}, "data": {"lesions": None, "corruption": 0.0, "augmentation": "simclr"}},
}
ROWS_OF = {"ham10000": ["nested", "flat", "SimCLR"], "pad_ufes_20": list(ROWS)}
CASES_A_STEP = {"ham10000": 64, "pad_ufes_20": 48}
"""of SimCLR, about as many as the patients of the others bring along"""
MALIGNANT = ["melanoma", "basal cell carcinoma", "squamous cell carcinoma", "actinic keratosis"]
"""HAM10000's actinic keratoses are carcinomas in situ among them (akiec); PAD-UFES-20's are not counted"""
INITIAL = "the weights it starts from"


def pad_ufes_20(root: Path) -> Manifest:
    """The cases of PAD-UFES-20 that have a picture there, photographs and lesions on black."""
    official = import_set("pad-ufes-20", root)
    there = pd.read_csv(root / "manifest.csv").dropna(subset=["img_id"])
    row_of = {case: row for row, case in enumerate(official.table["case_id"])}
    chosen = official.select([row_of[name] for name in there["img_id"].str.rsplit(".", n=1).str[0]])
    kind = there["kind"].str.split("_").str[0].to_numpy()
    cases = chosen.table.assign(image=there["file"].to_numpy(), case_id=chosen.table["case_id"] + "-" + kind)
    return Manifest.build(cases, root, chosen.categories)


def prepared(out: Path, ham: Path, pad: Path) -> dict[str, Path]:
    """Set -> its manifest with a split."""
    found = {name: out / f"{name}.parquet" for name in SETS}
    if not found["ham10000"].is_file():
        import_set("ham10000", ham, split="split_lesion_grouped.csv").write(found["ham10000"])
    if not found["pad_ufes_20"].is_file():
        split(pad_ufes_20(pad), seed=0, stratify="diagnosis").write(found["pad_ufes_20"])
    return found


def tasks(name: str) -> dict[str, dict[str, list[str]] | None]:
    """What is to be told apart: name -> classes made of diagnoses; None: every diagnosis."""
    if name == "ham10000":
        benign = ["nevus", "benign keratosis", "dermatofibroma", "vascular"]
        malignant = [d for d in MALIGNANT if d != "squamous cell carcinoma"]
        return {"7 classes": None, "malignant or benign": {"malignant": malignant, "benign": benign}}
    benign = ["nevus", "seborrheic keratosis", "actinic keratosis"]
    carcinoma = {"basal cell carcinoma": ["basal cell carcinoma"]}
    pairs = {f"{other} or basal cell carcinoma": carcinoma | {other: [other]}
             for other in ("actinic keratosis", "squamous cell carcinoma")}  # fmt: skip
    return {"malignant or benign": {"malignant": MALIGNANT[:3], "benign": benign}, **pairs}


def merged(classes: dict[str, list[str]]) -> list[str]:
    """A task as the command line takes it."""
    pairs = [f"{name}={diagnosis}" for name, diagnoses in classes.items() for diagnosis in diagnoses]
    return ["--evaluation.merge", *pairs]


def figures(report: Path, initial: bool) -> dict[str, Figure]:
    """Protocol -> AUROC and the ends of its interval, of the trained model or the one before."""
    found = json.loads(report.read_text())["entries"]
    return {
        e["protocol"]: (e["value"], e["low"], e["high"])
        for e in found
        if e["metric"] == "macro AUROC" and not e["class_name"] and (e["model"] == "untrained") == initial
    }


def main(
    out: Annotated[Path, tyro.conf.arg(name="out")],
    ham: Annotated[Path, tyro.conf.arg(name="ham10000")],
    pad: Annotated[Path, tyro.conf.arg(name="pad-ufes-20")],
    weights: Annotated[Path, tyro.conf.arg(name="weights")],
    /,
    seeds: int = 3,
    jobs: int = 2,
) -> None:
    """Run what is missing and print the tables."""
    out.mkdir(parents=True, exist_ok=True)
    manifests, folder, wanted = prepared(out, ham, pad), {}, []
    cache = str(out / "embeddings")
    for name, row, seed in product(SETS, ROWS, range(seeds)):
        if row not in ROWS_OF[name]:
            continue
        mapping = overlay(overlay(BASE, SETS[name]), ROWS[row])
        mapping["model"]["image"]["weights"] = str(weights.resolve())
        if row == "SimCLR":
            mapping["training"]["batch_size"] = CASES_A_STEP[name]
        # the weights that all start from, beside plain tables: the same for every seed
        mapping["untrained"] = row == "SimCLR" and seed == 0
        mapping["evaluation"]["merge"] = next(iter(tasks(name).values()))
        recipe = out / f"{name}-{row.replace(' ', '-')}-seed{seed}.yaml"
        recipe.write_text(yaml.safe_dump(mapping | {"name": row.replace(" ", "_").lower()}, sort_keys=False))
        folder[name, row, seed] = out / recipe.stem
        arguments = ["train", str(recipe), "--data.manifest", str(manifests[name]), "--data.cache", cache]
        wanted.append((seed, (folder[name, row, seed], f"{name}, {row}", [*arguments, "--training.seed", str(seed)])))
    run_all(jobs, [run for _, run in sorted(wanted, key=lambda one: one[0])])

    # the other tasks, on the same models; the one before training is the first one of SimCLR, whose tables are plain
    other, wanted = {}, []
    quick = ["--evaluation.protocols", "linear_probe", "low_shot", "--evaluation.low-shot-fractions", "0.1",
             "--evaluation.inputs", *BASE["evaluation"]["inputs"], "--evaluation.probe-features", "trunk",
             "--evaluation.n-boot", "200", "--evaluation.pictures", "0", "--evaluation.subgroups"]  # fmt: skip
    for (name, row, seed), place in folder.items():
        if row not in ROWS_OF["ham10000"]:
            continue
        for number, classes in list(enumerate(tasks(name).values()))[1:]:
            other[name, row, seed, number] = report = out / f"{place.name}-task{number}"
            arguments = ["evaluate", str(place / "model"), str(manifests[name]), "--cache", cache, *quick]
            wanted.append((report, f"{name}, {row}, task {number}", [*arguments, *merged(classes or {})]))
    run_all(jobs, wanted)

    for name in SETS:
        for number, task in enumerate(tasks(name)):
            rows = ROWS_OF["ham10000"] if number else [*ROWS_OF[name], INITIAL]
            for protocol in PROTOCOLS if number == 0 else PROTOCOLS[:3]:

                def of_row(row: str, seed: int, of: tuple = (name, number, protocol)) -> dict[str, Figure]:
                    name, number, protocol = of
                    initial = row == INITIAL
                    place = folder[name, "SimCLR" if initial else row, 0 if initial else seed] / "report"
                    place = other[name, row, seed, number] if number else place
                    found = figures(place / "report.json", initial)
                    return {title: found[protocol + end] for title, end in INPUTS.items() if protocol + end in found}

                if any(of_row(row, 0) for row in rows):
                    print(f"\n{name}, {task}: AUROC, {protocol}\n")
                    print(table(rows, list(INPUTS), seeds, of_row))


if __name__ == "__main__":
    tyro.cli(main)
