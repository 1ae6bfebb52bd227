"""M2CG without each of its modules on the frozen synthetic consultations: same tower, pixels, cases seen and steps.

    python benchmarks/synthetic_consultations.py runs/synthetic_consultations [--seeds 3] [--jobs 2]

Every row is pre-trained from random weights on the training photographs, their consultations and complaints (`dermis
train`, the recipe below, one thread), then fine-tuned on the training split's diagnoses with a head of one hidden layer
(`dermis evaluate`, protocol finetune), and probed. Of the training patients a fifth keep their labels, for with all of
them fine-tuning washes out what pre-training brought (docs/results.md). What is there already is not run again. The
first tables are about the 12 diagnoses of the test split, the last about the complaints that the generators write for
it, beside the complaint of the training case whose consultation shares most n-grams. Cells: mean over seeds, in
brackets the mean ends of the 95 % interval (patients resampled), after it the lowest and highest seed.
"""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
import yaml
from recipe_runs import Figure, overall, run_all, table
from sklearn.feature_extraction.text import TfidfVectorizer

from dermis.cases.manifest import Manifest
from dermis.cases.synthetic.evaluation_sets import make_evaluation_set
from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.text_concepts import concept_statistics
from dermis.evaluation.text_metrics import text_statistics
from dermis.model import load, save
from dermis.model.generate import generate_texts
from dermis.recipe import overlay
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches

BASE: dict[str, Any] = {
    "name": "m2cg",
    "data": {"augmentation": "m2cg"},
    "model": {
        "image": {"name": "resnet10t", "size": 48},
        "text": {"name": "trained", "width": 128, "layers": 1, "heads": 4, "vocabulary": 1000, "context_length": 256},
        "embed_dim": 128,
        "head": "convirt",
    },
    "method": {"name": "m2cg", "fusion_layers": 1, "decoder_layers": 2, "heads": 4, "dropout": 0.0},
    # epsilon: at 1e-6, the loop's default (CLIP's), the generator's first gradients are too small to be followed
    "training": {
        "epochs": 6,
        "batch_size": 16,
        "lr": 1.0e-3,
        "weight_decay": 0.01,
        "eps": 1.0e-8,
        "workers": 0,
    },
    "evaluation": {"protocols": ["knn"], "probe_features": "trunk", "pictures": 0, "subgroups": [], "n_boot": 20},
}
NO_GENERATOR = {"generation": 0, "fusion_layers": None, "decoder_layers": None, "heads": None}
ROWS: dict[str, dict[str, Any]] = {
    "M2CG": {},
    "without SMC": {"single_modal": 0},
    "without MMC": {"multi_modal": 0},
    "without MMF": {"fusion": False, "fusion_layers": None},
    "without CMG": NO_GENERATOR,
    "M2CG, generator sees the picture only": {"text_visible": False},
}
INITIAL = "random weights"
NEAREST = "complaint of the nearest training consultation by n-grams"
FINETUNE = [
    "--evaluation.protocols", "finetune", "--evaluation.finetune.targets", "diagnosis",
    "--evaluation.finetune.relation", "mlp",
    "--evaluation.finetune.width", "512", "--evaluation.finetune.dropout", "0",
    "--evaluation.finetune.augmentation", "m2cg", "--evaluation.finetune.training.epochs", "12",
    "--evaluation.finetune.training.batch-size", "32", "--evaluation.finetune.training.lr", "3e-4",
    "--evaluation.finetune.training.workers", "0", "--evaluation.pictures", "0", "--evaluation.subgroups",
    "--evaluation.n-boot", "300",
]  # fmt: skip
PROBE = [
    "--evaluation.protocols", "linear_probe", "--evaluation.probe-features", "trunk", "--evaluation.pictures", "0",
    "--evaluation.subgroups", "--evaluation.n-boot", "300",
]  # fmt: skip
FACTS = {
    "grew": r"\bgrowing\b|\bbigger\b", "changed": r"\bchanged its\b|\blooks different\b",
    "itch": r"\bitches\b|\bscratching\b", "bleed": r"\bbleeds\b|\bbled\b", "hurt": r"\bhurts\b|\bsore\b",
}  # fmt: skip
"""what a complaint can say beside the site, as the synthetic patients word it"""


def main(out: Annotated[Path, tyro.conf.arg(name="out")], /, seeds: int = 3, jobs: int = 2) -> None:
    """Run what is missing and print the tables."""
    cases = out / "cases" / "cases.parquet"
    if not cases.is_file():
        make_evaluation_set("standard", cases.parent)
    few = few_labels(cases)
    shared = ["--data.manifest", str(cases), "--data.cache", str(out / "embeddings")]
    trained, wanted = {}, []
    for seed in range(seeds):
        for i, (name, changes) in enumerate(ROWS.items()):
            trained[name, seed] = out / f"{i}-seed{seed}"
            mapping = overlay(BASE, {"untrained": False, "method": changes})
            mapping["method"] = {k: v for k, v in mapping["method"].items() if v is not None}
            (out / f"{i}.yaml").write_text(yaml.safe_dump(mapping, sort_keys=False))
            arguments = ["train", str(out / f"{i}.yaml"), *shared, "--training.seed", str(seed)]
            wanted.append((trained[name, seed], f"{name}, seed {seed}", arguments))
        trained[INITIAL, seed] = out / f"initial-seed{seed}"
        drawn = build_branches(BranchesConfig(image=ImageTowerConfig(**BASE["model"]["image"]), paired=False), seed)
        save(trained[INITIAL, seed] / "model", drawn)
    run_all(jobs, wanted)

    tuned, probed, wanted = {}, {}, []
    for (name, seed), place in trained.items():
        probed[name, seed] = out / f"{place.name}-probed"
        arguments = ["evaluate", str(place / "model"), str(few), *PROBE, "--cache", str(out / "embeddings")]
        wanted.append((probed[name, seed], f"{name}, seed {seed}, probed", arguments))
        tuned[name, seed] = out / f"{place.name}-tuned"
        arguments = ["evaluate", str(place / "model"), str(few), *FINETUNE, "--evaluation.finetune.seeds", str(seed),
                     "--evaluation.finetune.out", str(out / f"{place.name}-runs")]  # fmt: skip
        wanted.append((tuned[name, seed], f"{name}, seed {seed}, fine-tuned", arguments))
    run_all(jobs, wanted)
    columns = ["accuracy", "accuracy@3", "macro F1", "macro AUROC"]
    print("\n12 diagnoses, fine-tuned\n")
    print(table([*ROWS, INITIAL], columns, seeds, lambda name, seed: overall(tuned[name, seed])))
    print("\n12 diagnoses, logistic regression on frozen features\n")
    print(table([*ROWS, INITIAL], columns, seeds, lambda name, seed: overall(probed[name, seed])))

    manifest = Manifest.read(cases)
    test = manifest.split("test")
    test = test.select(test.table[["complaint", "dialogue"]].notna().all(axis=1).to_numpy())
    speakers = {name: True for name, changes in ROWS.items() if not changes or "generation" not in changes}
    speakers |= {name: False for name in speakers if name.endswith("sees the picture only")}

    @cache
    def said(name: str, seed: int) -> dict[str, Figure]:
        texts = neighbours(manifest, test)
        if name != NEAREST:
            texts = generate_texts(load(trained[name, seed] / "model"), test, dialogues=speakers[name])
        return measured([text or "" for text in texts], test)

    print(f"\ncomplaints of {len(test)} test cases\n")
    columns = ["facts F1", "concept F1 (micro)", "BLEU-4", "ROUGE-L", "CIDEr-D"]
    print(table([*speakers, NEAREST], columns, seeds, said))


def few_labels(cases: Path) -> Path:
    """A manifest beside this one in which a fifth of the training patients, drawn once, are all that train."""
    path, whole = cases.with_name("few.parquet"), Manifest.read(cases)
    if not path.is_file():
        group = whole.groups()
        training = np.unique(group[whole.table["split"] == "train"])
        drawn = np.random.default_rng(0).permutation(training)[: len(training) // 5]
        keep = (whole.table["split"] != "train") | group.isin(drawn)
        whole.select(keep.to_numpy()).write(path)
    return path


def neighbours(manifest: Manifest, test: Manifest) -> list[str]:
    """For each test case the complaint of the training case whose consultation has most n-grams (1 to 3) in common."""
    train = manifest.split("train").table.dropna(subset=["complaint", "dialogue"])
    grams = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True)
    known = grams.fit_transform(train["dialogue"])
    nearest = np.asarray((grams.transform(test.table["dialogue"]) @ known.T).argmax(axis=1)).ravel()
    return train["complaint"].iloc[nearest].tolist()


def measured(texts: list[str], test: Manifest) -> dict[str, Figure]:
    """The text metrics, and micro F1 over what complaints say of the lesion's history (``FACTS``)."""
    references = test.table["complaint"].tolist()
    said_NF, meant_NF = (
        np.array([[bool(re.search(form, text.lower())) for form in FACTS.values()] for text in rows])
        for rows in (texts, references)
    )
    near, concepts = text_statistics(texts, references), concept_statistics(texts, references)

    def statistics(weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        both_R = 2 * (weight_RN @ (said_NF & meant_NF)).sum(axis=1)
        facts_R = both_R / (weight_RN @ said_NF + weight_RN @ meant_NF).sum(axis=1)
        return near(weight_RN) | concepts(weight_RN) | {"facts F1": facts_R}

    found = intervals(statistics, test.groups(), n_boot=300, seed=0)
    return {name: (i.value, i.low, i.high) for name, i in found.items()}


if __name__ == "__main__":
    tyro.cli(main)
