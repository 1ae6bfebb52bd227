"""M2CG and its rivals on real photographs: PAD-UFES-20 with consultations told from its table, malignant or benign.

    python benchmarks/real_consultations.py OUT PAD-UFES-20 WEIGHTS [--folds 5] [--jobs 2]

``PAD-UFES-20`` as in real_patients.py, whose cases these are: photographs and pictures of the lesion alone.
Consultations and complaints are narrated (`dermis narrate`): real facts, our wording, no diagnosis. ``WEIGHTS``:
DINOv2's ViT-S/14 as timm names it, from which every row starts. In each of the folds, which tear no patient apart, a
row is pre-trained without labels on the training folds alone, so that no test case's history is in its weights, then
fine-tuned on their labels with a head of one hidden layer, the epoch chosen on the next fold. Text towers are random,
of 2 layers. What is there already is not run again. Cells: mean over folds, in brackets the mean ends of the 95 %
interval (patients resampled within a fold), after it the lowest and highest fold.
"""

import resource
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml
from real_patients import MALIGNANT, pad_ufes_20
from recipe_runs import overall, run_all, table

from dermis.cases.manifest import Manifest
from dermis.cases.split import folds as dealt
from dermis.language.consultation import narrate_consultations
from dermis.model import save
from dermis.recipe import overlay
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches

IMAGE = {"name": "vit_small_patch14_dinov2.lvd142m", "size": 56}
BASE: dict[str, Any] = {
    "training": {"epochs": 4, "batch_size": 32, "lr": 5.0e-5, "weight_decay": 0.01, "eps": 1.0e-8, "workers": 0},
    "evaluation": {"protocols": ["knn"], "probe_features": "trunk", "pictures": 0, "subgroups": [], "n_boot": 20},
    "untrained": False,
}
TEXT = {"name": "trained", "width": 128, "layers": 2, "heads": 4, "vocabulary": 1000, "context_length": 256}
PROMPT = {
    "augmentation": "m2cg", "texts": ["complaint", "dialogue"], "join_texts": True,
    "headings": {"complaint": "Chief complaint", "dialogue": "Consultation dialogue"},
}  # fmt: skip
TWO = {"image": IMAGE, "text": TEXT, "embed_dim": 128}
ONE = {"image": IMAGE, "paired": False}
ROWS: dict[str, dict[str, Any]] = {
    "SimCLR": {"method": {"name": "simclr"}, "model": ONE, "data": {"augmentation": "simclr"}},
    "MoCo": {"method": {"name": "moco", "queue": 512}, "model": ONE, "data": {"augmentation": "simclr"}},
    "CLIP": {"method": {"name": "clip"}, "model": TWO | {"head": "convirt"}, "data": PROMPT},
    "ConVIRT": {"method": {"name": "convirt"}, "model": TWO | {"head": "convirt"}, "data": PROMPT},
    "GLoRIA": {"method": {"name": "gloria", "chunk": 8}, "model": TWO, "data": PROMPT},
    "M3AE": {
        "method": {"name": "m3ae", "width": 128, "layers": 2, "heads": 4, "pixel_layer": 1, "decoder_width": 128,
                   "decoder_layers": 1, "decoder_heads": 4, "dropout": 0.0},
        "model": TWO,
        "data": PROMPT,
    },
    "M2CG": {
        "method": {"name": "m2cg", "fusion_layers": 2, "decoder_layers": 2, "heads": 4, "dropout": 0.0},
        "model": TWO | {"head": "convirt"},
        "data": {"augmentation": "m2cg"},
    },
}  # fmt: skip
INITIAL = "the weights all start from"
FINETUNE = [
    "--evaluation.protocols", "finetune", "--evaluation.finetune.targets", "finding.malignant",
    "--evaluation.finetune.relation", "mlp", "--evaluation.finetune.width", "512", "--evaluation.finetune.dropout", "0",
    "--evaluation.finetune.augmentation", "m2cg", "--evaluation.finetune.training.epochs", "5",
    "--evaluation.finetune.training.batch-size", "32", "--evaluation.finetune.training.lr", "5e-5",
    "--evaluation.finetune.training.workers", "0", "--evaluation.pictures", "0", "--evaluation.subgroups",
    "--evaluation.n-boot", "300", "--evaluation.positive", "yes",
]  # fmt: skip


def prepared(out: Path, pad: Path, folds: int) -> list[Path]:
    """The manifest of each fold: its cases are `test`, those of the next `valid`, the others `train`."""
    paths = [out / f"fold{k}.parquet" for k in range(folds)]
    if all(path.is_file() for path in paths):
        return paths
    cases = narrate_consultations(pad_ufes_20(pad), seed=0)
    malignant = cases.table["diagnosis"].isin(MALIGNANT[:3]).map({True: "yes", False: "no"})
    cases = dealt(
        Manifest.build(cases.table.assign(**{"finding.malignant": malignant}), cases.root, cases.categories), folds
    )
    for k, path in enumerate(paths):
        side = {str(k): "test", str((k + 1) % folds): "valid"}
        split = cases.table["fold"].map(side).fillna("train")
        Manifest.build(cases.table.assign(split=split), cases.root, cases.categories).write(path)
    return paths


def main(
    out: Annotated[Path, tyro.conf.arg(name="out")],
    pad: Annotated[Path, tyro.conf.arg(name="pad-ufes-20")],
    weights: Annotated[Path, tyro.conf.arg(name="weights")],
    /,
    folds: int = 5,
    jobs: int = 2,
) -> None:
    """Run what is missing and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    image = IMAGE | {"weights": str(weights.resolve())}
    model = {(INITIAL, k): out / "initial" for k in range(folds)}
    save(out / "initial" / "model", build_branches(BranchesConfig(image=ImageTowerConfig(**image), paired=False)))
    manifests, wanted = prepared(out, pad, folds), []
    for k, manifest in enumerate(manifests):
        for row, changes in ROWS.items():
            recipe = out / f"{row}.yaml"
            mapping = overlay(overlay(BASE, changes), {"model": {"image": image}, "name": row.lower()})
            recipe.write_text(yaml.safe_dump(mapping, sort_keys=False))
            model[row, k] = out / f"{row}-fold{k}"
            shared = ["--data.manifest", str(manifest), "--data.cache", str(out / "embeddings")]
            wanted.append((model[row, k], f"{row}, fold {k}", ["train", str(recipe), *shared]))
    run_all(jobs, wanted)

    tuned, wanted = {}, []
    for (row, k), place in sorted(model.items(), key=lambda one: one[0][1]):
        tuned[row, k] = out / f"{place.name}-fold{k}-tuned"
        arguments = ["evaluate", str(place / "model"), str(manifests[k]), *FINETUNE,
                     "--evaluation.finetune.out", str(out / "runs" / f"{place.name}-fold{k}")]  # fmt: skip
        wanted.append((tuned[row, k], f"{row}, fold {k}, fine-tuned", arguments))
    run_all(jobs, wanted)
    columns = ["macro AUROC", "accuracy", "balanced accuracy", "positive F1"]
    print("\nmalignant or benign\n")
    print(table([INITIAL, *ROWS], columns, folds, lambda row, k: overall(tuned[row, k])))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\nprocessor time of this call: {(used.ru_utime + used.ru_stime) / 3600:.2f} hours")


if __name__ == "__main__":
    tyro.cli(main)
