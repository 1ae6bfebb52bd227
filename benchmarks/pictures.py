"""How fast encoded pictures become augmented views, beside Pillow + torchvision v1: ``python benchmarks/pictures.py``.

The same operations for both: decode, RandomResizedCrop 224 (area .4-1), flip, colour jitter (.32, .32, .32, .08; p .8),
Gaussian blur (sigma .1-2; p .5), normalise. torchvision convolves with 23 × 23 taps as the papers' code does; dermis
with as many as sigma needs, and the largest difference between the two is printed.

One thread, CPU time of this process, the pipelines interleaved, median of the repetitions. The pictures are made here:
ellipses of all sizes, with the size in bytes of photographs.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import simplejpeg
import torch
from PIL import Image

import dermis.torchvision_operators  # noqa: F401 (before torchvision)

# isort: split
from torchvision import transforms as T
from torchvision.transforms import functional as TF

from dermis.batch import colour
from dermis.batch.augment import AUGMENTATIONS, Augmentation, Normalise, views
from dermis.batch.warp import Cut, render
from dermis.pictures.decode import decode, size

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISE = Normalise(MEAN, STD)
SIMCLR = AUGMENTATIONS["simclr"]
WITHOUT_BLUR = replace(SIMCLR, blur=0.0)
FORMATS = {"600 × 450": (450, 600, 24, 59_000, 7.0), "3000 × 2000": (2000, 3000, 4, 988_000, 4.5)}


def photographs(height: int, width: int, count: int, wanted_bytes: int) -> list[bytes]:
    """JPEGs (4:2:0) of "dead leaves", ellipses of all sizes over one another in skin's colours, and sensor noise.

    The classical stand-in for photographs: edges at every scale, so that a byte holds as much to decode as there.
    """
    rng, encoded = np.random.default_rng(0), []
    skin = np.array([180.0, 135.0, 115.0])
    for _ in range(count):
        picture = np.full((height, width, 3), skin, np.float32)
        for size_of_leaf in 0.003 * width / np.sqrt(rng.uniform(1.5e-4, 1, size=height * width // 300)):
            axes = (max(int(size_of_leaf), 1), max(int(size_of_leaf * rng.uniform(0.3, 1)), 1))
            where = (int(rng.integers(width)), int(rng.integers(height)))
            colour_of_leaf = skin + rng.normal(0, 25) + rng.normal(0, 6, 3)
            cv2.ellipse(picture, where, axes, rng.uniform(0, 180), 0, 360, colour_of_leaf.tolist(), -1)
        picture = cv2.GaussianBlur(picture, (0, 0), 0.8) + rng.normal(0, 2, (height, width, 1))
        picture = np.clip(picture, 0, 255).astype(np.uint8)
        versions = [simplejpeg.encode_jpeg(picture, quality=q, colorsubsampling="420") for q in range(70, 98, 2)]
        encoded.append(min(versions, key=lambda data: abs(len(data) - wanted_bytes)))
    return encoded


def torchvision_pipeline(blur: bool, count: int = 1) -> Callable[[bytes], torch.Tensor]:
    """The pipeline of the released code of SimCLR and its descendants: Pillow pictures, torchvision v1."""
    steps = [
        T.RandomResizedCrop(224, scale=(0.4, 1.0)),
        T.RandomHorizontalFlip(),
        T.RandomApply([T.ColorJitter(0.32, 0.32, 0.32, 0.08)], p=0.8),
        *([T.RandomApply([T.GaussianBlur(23, (0.1, 2.0))], p=0.5)] if blur else []),
        T.ToTensor(),
        T.Normalize(MEAN, STD),
    ]
    transform = T.Compose(steps)

    def run(data: bytes) -> torch.Tensor:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return torch.stack([transform(image) for _ in range(count)])

    return run


def dermis_pipeline(augmentation: Augmentation, count: int = 1) -> Callable[[bytes], torch.Tensor]:
    rng = np.random.default_rng(0)
    return lambda data: torch.from_numpy(views(data, augmentation, rng, NORMALISE, count=count))


def measure(pipelines: dict[str, Callable], pictures: Sequence, repetitions: int) -> dict[str, float]:
    """Milliseconds of CPU time per picture: median over repetitions, pipelines interleaved within each."""
    times: dict[str, list[float]] = {name: [] for name in pipelines}
    for repetition in range(repetitions + 1):
        for name, run in pipelines.items():
            start = time.process_time()
            for picture in pictures:
                run(picture)
            if repetition:  # the first round only warms up
                times[name].append((time.process_time() - start) / len(pictures) * 1000)
    return {name: float(np.median(values)) for name, values in times.items()}


def stages(data: bytes) -> dict[str, Callable]:
    """The parts of one dermis view, each with its own inputs ready."""
    full = size(data)
    scaled = int(0.9 * 224 / 0.8)  # what a crop of 0.8 of the picture's side asks for
    picture = decode(data, at_least=scaled)
    cut = Cut(full[0] // 10, full[1] // 10, full[0] * 8 // 10, full[1] * 8 // 10)
    view = render(picture, full, cut, 224)
    steps = [("brightness", 1.1), ("hue", 0.05), ("contrast", 0.9), ("saturation", 1.2)]
    named = {
        "header": lambda: size(data),
        "Pillow decode": lambda: Image.open(io.BytesIO(data)).convert("RGB"),
        "decode": lambda: decode(data),
        "decode at 1/8 (the floor: Huffman codes)": lambda: decode(data, at_least=1),
        "decode, as small as the view allows": lambda: decode(data, at_least=scaled),
        "crop, resize": lambda: render(picture, full, cut, 224),
        "crop, resize, flip": lambda: render(picture, full, replace(cut, mirror=True), 224),
        "crop, resize, rotation": lambda: render(picture, full, replace(cut, angle=20), 224),
        "colour jitter": lambda: colour.jitter(view, steps),
        "colour jitter, torchvision's way": lambda: colour.jitter_exactly(view, steps),
        "blur, sigma 1": lambda: colour.blur(view, 1.0),
        "blur, sigma 2": lambda: colour.blur(view, 2.0),
        "blur, sigma 2, 23 taps": lambda: colour.blur(view, 2.0, 23),
        "normalise": lambda: NORMALISE(view),
    }
    return {name: lambda _, stage=stage: stage() for name, stage in named.items()}


def blur_difference(data: bytes) -> int:
    """Largest difference in levels of 255 between our blur and torchvision's of 23 taps, over sigma."""
    view = decode(data)[:224, :224]
    worst = 0
    for sigma in (0.1, 0.5, 1.0, 1.5, 2.0):
        theirs = np.asarray(TF.gaussian_blur(Image.fromarray(view), [23, 23], [sigma, sigma]))
        worst = max(worst, int(np.abs(theirs.astype(int) - colour.blur(view, sigma)).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name, (height, width, count, wanted, target) in FORMATS.items():
        pictures = photographs(height, width, count, wanted)
        print(f"\n{name}, {count} JPEGs of {np.mean([len(p) for p in pictures]) / 1000:.0f} KB")
        pipelines: dict[str, Callable] = {}
        for label, blur, augmentation, n in (
            ("one view", True, SIMCLR, 1),
            ("one view, no blur", False, WITHOUT_BLUR, 1),
            ("two views", True, SIMCLR, 2),
        ):
            pipelines[f"{label}, Pillow + torchvision"] = torchvision_pipeline(blur, n)
            pipelines[f"{label}, dermis"] = dermis_pipeline(augmentation, n)
        took = measure(pipelines, pictures, repetitions)
        print(f"  {'':22}{'torchvision':>12}{'dermis':>10}   pictures/s/core   ratio")
        for label in ("one view", "one view, no blur", "two views"):
            theirs, ours = took[f"{label}, Pillow + torchvision"], took[f"{label}, dermis"]
            goal = f"  (target {target})" if label == "one view" else ""
            print(f"  {label:22}{theirs:9.2f} ms{ours:7.2f} ms {1000 / ours:15.0f}   {theirs / ours:5.2f}{goal}")
        print("  stages of dermis:")
        for label, milliseconds in measure(stages(pictures[0]), range(max(200 // count, 8)), repetitions).items():
            print(f"    {label:42}{milliseconds * 1000:8.0f} µs")
    print(f"\nblur: at most {blur_difference(pictures[0])} of 255 from torchvision's 23 taps")


if __name__ == "__main__":
    main()
