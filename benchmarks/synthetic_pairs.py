"""SM3, its fusions and relations, SimCLR and MoCo on the frozen synthetic pairs: same towers, pixels, epochs.

    python benchmarks/synthetic_pairs.py runs/synthetic_pairs [--seeds 3] [--jobs 2]

Every run is `dermis train sm3_synthetic` (or `moco`) with other settings, one thread, from random weights, both towers
alike at the start. What is there already is not run again. Prints two Markdown tables: pre-training (Table I's mean AUC
by linear probes on frozen features, pair matching on the test split), and SM3's second stage against its first (heads
of each relation taught labels on frozen features, from pseudo-labels or from random weights). Cells: mean over seeds,
in brackets the mean ends of the 95 % patient bootstrap (300 draws), after it the lowest and highest seed.
"""

import json
import shutil
from pathlib import Path
from typing import Annotated

import tyro
from recipe_runs import Figure, run_all, table

from dermis.cases.synthetic.evaluation_sets import make_evaluation_set

ONE_STAGE = ["--training.labels.epochs", "0"]
MOCO = [
    "--data.augmentation", "simclr", "--model.image.name", "resnet10t", "--model.image.size", "48", "--model.paired",
    "--method.queue", "512", "--method.momentum", "0.99", "--training.epochs", "10", "--training.batch-size", "64",
    "--training.workers", "0", "--evaluation.protocols", "derm7pt", "pairs", "--evaluation.n-boot", "300",
    "--evaluation.pictures", "0", "--evaluation.subgroups", "--evaluation.probe-features", "projected",
]  # fmt: skip
ROWS = {
    "SM3, sep_sep": ONE_STAGE,
    "SM3, sep_shared": ["--method.fusion", "sep_shared", *ONE_STAGE],
    "SM3, concat": ["--method.fusion", "concat", *ONE_STAGE],
    "SimCLR": ["--method.fusion", "none", *ONE_STAGE],
    "MoCo v2": MOCO,
    "SM3 as released, sep_sep": ["--method.as-released", *ONE_STAGE],
    "SimCLR, both views as anchors": ["--method.fusion", "none", "--method.as-released", *ONE_STAGE],
}
INITIAL = "initial weights"
RELATIONS = ("no_proj", "proj", "msa", "tel", "te")
LAYERS = {"te": ["--method.layers", "2"]}
COLUMNS = ("probe AUC, 8 targets", "probe macro AUROC, 8 labels", "rank, features", "rank, projections",
           "acc@1, projections", "acc@5, projections")  # fmt: skip
PAIRS = "pair matching, dermoscopy to clinical, "
WANTED = {
    ("derm7pt, linear probes", "AUC"): COLUMNS[0],
    ("derm7pt, linear probes", "macro AUROC"): COLUMNS[1],
    (f"{PAIRS}features", "average rank"): COLUMNS[2],
    (f"{PAIRS}projections", "average rank"): COLUMNS[3],
    (f"{PAIRS}projections", "acc@1"): COLUMNS[4],
    (f"{PAIRS}projections", "acc@5"): COLUMNS[5],
}
HEADS = ["--protocol", "finetune", "--evaluation.n-boot", "300", "--evaluation.pictures", "0",
         "--evaluation.finetune.freeze", "picture_towers.*", "--evaluation.finetune.augmentation", "none",
         "--evaluation.finetune.training.epochs", "30", "--evaluation.finetune.training.lr", "1e-3",
         "--evaluation.finetune.training.batch-size", "128", "--evaluation.finetune.training.workers", "0",
         "--evaluation.finetune.targets", "diagnosis", "finding.pigment_network", "finding.blue_whitish_veil",
         "finding.vascular_structures", "finding.pigmentation", "finding.streaks", "finding.dots_and_globules",
         "finding.regression_structures"]  # fmt: skip


def entries(folder: Path) -> list[dict]:
    """Numbers about everybody and all classes, on the test split, of the report below a folder."""
    (report,) = folder.rglob("report.json") if (folder / "report.json").is_file() else [folder / "report/report.json"]
    found = json.loads(report.read_text())["entries"]
    return [e for e in found if not e["subgroup"] and not e["class_name"] and e["split"] == "test"]


def figures(folder: Path, untrained: bool) -> dict[str, Figure]:
    """Column -> value and ends of its interval, of the model after or before training."""
    of_model = [e for e in entries(folder) if (e["model"] == "untrained") == untrained]
    return {
        WANTED[e["protocol"], e["metric"]]: (e["value"], e["low"], e["high"])
        for e in of_model
        if (e["protocol"], e["metric"]) in WANTED
    }


def main(out: Annotated[Path, tyro.conf.arg(name="out")], /, seeds: int = 3, jobs: int = 2) -> None:
    """Run what is missing and print the tables."""
    cases = out / "cases" / "cases.parquet"
    if not cases.is_file():
        make_evaluation_set("standard", cases.parent)
    shared = ["--data.manifest", str(cases), "--data.cache", str(out / "embeddings")]
    folder = {(name, seed): out / f"{i}-seed{seed}" for i, name in enumerate(ROWS) for seed in range(seeds)}
    wanted = []
    for (name, seed), place in sorted(folder.items(), key=lambda one: one[0][1]):
        recipe, stage = ("moco", "") if name.startswith("MoCo") else ("sm3_synthetic", "contrast.")
        arguments = ["train", recipe, *shared, *ROWS[name], f"--training.{stage}seed", str(seed)]
        wanted.append((place, f"{name}, seed {seed}", arguments))
    run_all(jobs, wanted)

    # the second stage of each relation goes on from one and the same first stage
    labels = {(r, seed): out / f"labels-{r}-seed{seed}" for r in RELATIONS for seed in range(seeds)}
    wanted = []
    for (relation, seed), place in labels.items():
        if not (place / "contrast").is_dir():
            shutil.copytree(folder["SM3, sep_sep", seed] / "contrast", place / "contrast")
        own = ["--method.relation", relation, *LAYERS.get(relation, [])]
        arguments = ["train", "sm3_synthetic", *shared, *own, "--training.contrast.seed", str(seed)]
        wanted.append((place, f"labels, {relation}, seed {seed}", [*arguments, "--training.labels.seed", str(seed)]))
    run_all(jobs, wanted)

    taught = {}
    for (relation, seed), place in labels.items():
        first = folder["SM3, sep_sep", seed] / "model"
        for start, model, kind in (("random", first, relation), ("pseudo-labels", place / "model", "keep")):
            taught[relation, start, seed] = target = out / f"taught-{relation}-{start}-seed{seed}"
            arguments = ["evaluate", str(model), str(cases), *HEADS, "--cache", str(out / "embeddings"),
                         "--evaluation.finetune.relation", kind, "--evaluation.finetune.seeds", str(seed),
                         "--evaluation.finetune.out", str(out / f"heads-{relation}-{start}-seed{seed}")]  # fmt: skip
            wanted.append((target, f"heads, {relation} from {start}, seed {seed}", arguments))
    run_all(jobs, wanted)

    def pre_trained(name: str, seed: int) -> dict[str, Figure]:
        return figures(folder["SM3, sep_sep" if name == INITIAL else name, seed], untrained=name == INITIAL)

    print(table([*ROWS, INITIAL], COLUMNS, seeds, pre_trained))

    def heads(name: str, seed: int) -> dict[str, Figure]:
        found = {}
        for start in ("random", "pseudo-labels"):
            for e in entries(taught[name, start, seed]):
                if e["metric"] in ("AUC", "macro AUROC") and e["protocol"] == "fine-tuning":
                    found[f"{e['metric']}, heads from {start}"] = (e["value"], e["low"], e["high"])
        return found

    columns = [f"{metric}, heads from {s}" for metric in ("AUC", "macro AUROC") for s in ("random", "pseudo-labels")]
    print("\n" + table(RELATIONS, columns, seeds, heads))


if __name__ == "__main__":
    tyro.cli(main)
