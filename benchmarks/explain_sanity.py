"""Do maps depend on what the model learnt? Spearman's correlation with the maps of models whose weights are noise.

    python benchmarks/explain_sanity.py CASES --tower vit_small_patch14_dinov2 --weights FILE [--size 140]
    python benchmarks/explain_sanity.py CASES --model FOLDER [--text "a melanoma"] [--pictures 40]

CASES is a manifest; pictures of it are drawn by --seed. A row is the mean over pictures with its 95 % interval (t), and
the mean of the absolute values: a sign that differs from picture to picture would hide in the mean. Every picture meets
a changed model of its own, so pictures are independent. Rows:

    same weights               the positive control, 1
    noise of n                 Gaussian noise on each parameter, n times its own standard deviation
    last n blocks random       cascading randomisation from the top (Adebayo et al. 2018), of a vision transformer
    all weights random         the test: near 0, or the map does not show what the model learnt
    another picture            the same weights, the map of another picture: high if maps show place, not picture
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t
from torch import nn

from dermis.cases.manifest import Manifest
from dermis.explain import explain
from dermis.explain.rollout import attention_layers
from dermis.explain.sanity import agreement, noisy, randomised
from dermis.model import load
from dermis.pictures.decode import decode
from dermis.pictures.store import read_bytes
from dermis.towers.build import ImageTowerConfig, build_image_tower

NOISE = (0.01, 0.03, 0.1)


def changes(model: nn.Module) -> dict[str, Callable[[int], nn.Module]]:
    """Row -> a seed's changed model."""
    found = {"same weights": lambda seed: model}
    found |= {f"noise of {amount}": partial(noisy, model, amount) for amount in NOISE}
    blocks = len(attention_layers(getattr(model, "image", model)))
    for last in sorted({1, blocks // 4, blocks // 2, blocks} - {0}) if blocks else []:
        chosen = tuple(f"blocks.{i}." for i in range(blocks - last, blocks))
        found[f"last {last} of {blocks} blocks random"] = partial(
            randomised, model, which=lambda name, chosen=chosen: any(f".{part}" in f".{name}" for part in chosen)
        )
    return found | {"all weights random": partial(randomised, model)}


def row(name: str, values: list[float]) -> str:
    mean, half = np.mean(values), t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{name:<32}{mean:8.3f}  [{mean - half:6.3f}, {mean + half:6.3f}]{np.mean(np.abs(values)):10.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--tower")
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int)
    parser.add_argument("--pool", choices=("token", "avg", "token+avg", "map"))
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if (given.model is None) == (given.tower is None):
        parser.error("give either --model or --tower with --weights")
    settings = {"name": given.tower, "weights": given.weights, "size": given.size, "pool": given.pool}
    model = load(given.model) if given.model else build_image_tower(ImageTowerConfig(**settings)).eval()
    cases = Manifest.read(given.cases)
    paths = cases.table["image"].sample(given.pictures, random_state=given.seed)
    pictures = [decode(read_bytes(cases.root, path)) for path in paths]

    own = [explain(model, picture, given.text) for picture in pictures]
    grid = " x ".join(map(str, own[0][0].values.shape))
    print(f"{own[0][0].kind}, {len(pictures)} pictures, grid {grid}, torch {torch.__version__}")
    print(f"{'Spearman with the map of …':<32}{'mean':>8}  {'95 % interval':<16}{'mean |r|':>10}")
    for name, changed in changes(model).items():
        # a picture's texts are not independent of each other: one number a picture
        theirs = [explain(changed(seed), picture, given.text) for seed, picture in enumerate(pictures)]
        print(row(name, [mean_agreement(*pair) for pair in zip(own, theirs, strict=True)]), flush=True)
    print(
        row("another picture", [mean_agreement(one, other) for one, other in zip(own, own[1:] + own[:1], strict=True)])
    )


def mean_agreement(ones: list, others: list) -> float:
    return float(np.mean([agreement(one, other) for one, other in zip(ones, others, strict=True)]))


if __name__ == "__main__":
    main()
