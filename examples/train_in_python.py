"""The whole way in Python: synthetic cases, a two-tower model, CLIP, an evaluation. About a minute on two cores."""

import sys
from pathlib import Path

import dermis
from dermis.experiment import experiment_of
from dermis.run import run_experiment

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example")
manifest = dermis.make_cases(folder / "cases", patients=150, size=64, seed=11)
print(f"{len(manifest)} cases, {manifest.groups().nunique()} patients")

report = run_experiment(
    experiment_of(
        {
            "name": "example",
            "data": {"manifest": str(folder / "cases" / "cases.parquet"), "cache": str(folder / "embeddings")},
            "model": {
                "image": {"name": "resnet10t", "size": 64},
                "text": {"width": 64, "layers": 2, "heads": 2, "context_length": 48},
                "embed_dim": 64,
            },
            "method": {"name": "clip", "duplicates": "shared"},
            "training": {"epochs": 4, "batch_size": 32, "lr": 1e-3, "workers": 0},
            "evaluation": {"protocols": ["prompts"], "n_boot": 100},
        }
    ),
    folder / "run",
    command="python examples/train_in_python.py",
)
print("macro AUROC", report.value("prompt classification", "macro AUROC", model="example").text())

model = dermis.load(folder / "run" / "model")
picture = manifest.root / manifest.table["image"].iloc[0]
print(dermis.classify(model, picture, ["melanoma", "psoriasis", "melanocytic nevus"]))
