"""SLICE-3D at its own size, on fabricated data: ``python benchmarks/slice3d.py FOLDER``

The competition's 401,059 rows with its 55 columns (names and kinds of the published table, values drawn) and its HDF5
file of one JPEG a key, here a few distinct tiles over and over. Measured: reading the table, what table and tensors
hold in memory, how long an epoch takes to begin, tiles per second through the loader beside a plain loop over h5py,
and what workers own for themselves.

Each part runs in a process of its own, so that memory is its own; ``FOLDER`` keeps the data for the next time.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from pictures import photographs

from dermis.batch.augment import AUGMENTATIONS, Normalise, views
from dermis.batch.dataset import CaseDataset, Collate, PictureColumn
from dermis.batch.loader import Batches
from dermis.batch.patients import PatientBatches
from dermis.cases.catalogue import import_set
from dermis.cases.manifest import Manifest
from dermis.cases.table_schema import TableSchema

ROWS, PATIENTS, MALIGNANT = 401_059, 1_042, 393
PATIENTS_A_BATCH, LESIONS, SIDE = 32, 16, 128
LIMIT_MB, LIMIT_S = 400, 10
MEASURED = (
    "A", "Aext", "B", "Bext", "C", "Cext", "H", "Hext", "L", "Lext", "areaMM2", "area_perim_ratio",
    "color_std_mean", "deltaA", "deltaB", "deltaL", "deltaLB", "deltaLBnorm", "eccentricity", "location",
    "location_simple", "minorAxisMM", "nevi_confidence", "norm_border", "norm_color", "perimeterMM",
    "radial_color_std_max", "stdL", "stdLExt", "symm_2axis", "symm_2axis_angle", "x", "y", "z",
)  # fmt: skip
SITES = ("posterior torso", "lower extremity", "anterior torso", "upper extremity", "head/neck")
TRAINING_ONLY = ("lesion_id", "iddx_full", "iddx_1", "iddx_2", "iddx_3", "iddx_4", "iddx_5", "mel_mitotic_index")
PICTURE = PictureColumn(
    "image", replace(AUGMENTATIONS["slimp"], size=SIDE), Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def fabricate(folder: Path) -> None:
    """train-metadata.csv and train-image.hdf5 as the competition has them, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "train-metadata.csv").exists():
        table().to_csv(folder / "train-metadata.csv", index=False)
    if not (folder / "train-image.hdf5").exists():
        tiles = [np.void(t) for s in (61, 100, 131, 170, 239) for t in photographs(s, s, 8, 34 * s)]
        with h5py.File(folder / "part.hdf5", "w") as file:
            for row in range(ROWS):
                file.create_dataset(f"ISIC_{row:07d}", data=tiles[row % len(tiles)])
        (folder / "part.hdf5").rename(folder / "train-image.hdf5")


def table() -> pd.DataFrame:
    """The published columns in their order; lesions per patient log-normal about a median of 241, as published."""
    rng = np.random.default_rng(0)
    share = rng.lognormal(0, 0.95, PATIENTS)
    patient = np.sort(rng.choice(PATIENTS, ROWS, p=share / share.sum()))
    age, sex = rng.integers(1, 18, PATIENTS) * 5.0, rng.choice(["male", "female"], PATIENTS)

    def known(values: np.ndarray, share: float) -> pd.Series:
        return pd.Series(values).where(rng.random(ROWS) < share)

    measured = {f"tbp_lv_{name}": rng.normal(20, 10, ROWS).round(5) for name in MEASURED}
    measured["tbp_lv_location"] = rng.choice([f"Part {i}" for i in range(21)], ROWS)
    measured["tbp_lv_location_simple"] = rng.choice([f"Part {i}" for i in range(8)], ROWS)
    measured["tbp_lv_symm_2axis_angle"] = rng.integers(0, 36, ROWS) * 5
    columns = {
        "isic_id": [f"ISIC_{row:07d}" for row in range(ROWS)],
        "target": np.isin(np.arange(ROWS), rng.choice(ROWS, MALIGNANT, replace=False)).astype(int),
        "patient_id": [f"IP_{p:07d}" for p in patient],
        "age_approx": known(age[patient], 0.993),
        "sex": known(sex[patient], 0.971),
        "anatom_site_general": known(rng.choice(SITES, ROWS), 0.986),
        "clin_size_long_diam_mm": rng.gamma(4, 1, ROWS).round(2),
        "image_type": "TBP tile: close-up",
        "tbp_tile_type": rng.choice(["3D: XP", "3D: white"], ROWS, p=[0.713, 0.287]),
        **measured,
        "attribution": "Memorial Sloan Kettering Cancer Center",
        "copyright_license": "CC-BY",
        **{name: known(np.full(ROWS, "x"), 0.055) for name in TRAINING_ONLY},
        "mel_thick_mm": known(np.full(ROWS, 0.5), 63 / ROWS),
        "tbp_lv_dnn_lesion_confidence": rng.random(ROWS) * 100,
    }
    return pd.DataFrame(columns)


def memory(process: int | str = "self") -> dict[str, float]:
    """MB that a process holds: ``rss``, resident; ``own``, not shared with any other; ``pss``, its share of all."""
    names = {"Rss": "rss", "Pss": "pss"}
    found = {"own": 0.0}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in names:
            found[names[name]] = int(rest.split()[0]) / 1024
        elif name in ("Private_Clean", "Private_Dirty"):
            found["own"] += int(rest.split()[0]) / 1024
    return found


def reading(folder: Path) -> dict[str, float]:
    """`dermis import`: the table and the HDF5 file's keys into a manifest on disk."""
    start, cpu = time.perf_counter(), time.process_time()
    manifest = import_set("isic2024", folder)
    manifest.write(folder / "cases.parquet")
    took = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    assert len(manifest) == ROWS
    assert manifest.notes == ()
    start = time.perf_counter()
    pd.read_csv(folder / "train-metadata.csv", low_memory=False)
    with h5py.File(folder / "train-image.hdf5") as file:
        list(file.keys())
    return took | {"peak": int(peak.split()[1]) / 1024, "plain": time.perf_counter() - start}


def holding(folder: Path) -> dict[str, float]:
    """MB of the table, of the list of paths and of all tensors, and what they add to a process in all."""
    before, start = memory()["rss"], time.perf_counter()
    manifest = Manifest.read(folder / "cases.parquet")
    read = time.perf_counter() - start
    dataset = dataset_of(manifest)
    found = {
        "read": read,
        "data": manifest.table.memory_usage(deep=True).sum() / 2**20,
        "paths": sum(map(sys.getsizeof, dataset.pictures[0][1])) / 2**20,
        "tensors": sum(t.nbytes for level in dataset.tables for t in level.tensors.values()) / 2**20,
        "rss": memory()["rss"] - before,
    }
    pa.default_memory_pool().release_unused()
    return found | {"trimmed": memory()["rss"] - before}


def dataset_of(manifest: Manifest, side: int = SIDE) -> CaseDataset:
    """The training set as `slimp_isic2024` has it."""
    schemas = {level: TableSchema.learn(manifest, level) for level in ("lesion", "patient")}
    picture = replace(PICTURE, augmentation=replace(PICTURE.augmentation, size=side))
    return CaseDataset(manifest, pictures=[picture], tables=schemas, corruption=0.3)


def epochs(folder: Path, workers: int, side: int = SIDE) -> dict[str, float]:
    """From the manifest to the first batch, in the first and in the second epoch; then tiles a second, and memory."""
    manifest = Manifest.read(folder / "cases.parquet")
    start = time.perf_counter()
    order = PatientBatches(manifest.groups(), PATIENTS_A_BATCH, LESIONS, seed=0)
    dataset = dataset_of(manifest, side)
    batches = Batches(dataset, order, Collate(tables=dataset.tables), workers)
    found: dict[str, float] = {}
    for epoch in range(2):
        order.epoch, order.position = epoch, 0
        start = start if epoch == 0 else time.perf_counter()
        tiles, begun = 0, 0.0
        for batch in batches:
            if begun:
                tiles += len(batch["row_B"])
            else:
                found[f"first {epoch}"] = time.perf_counter() - start
                begun = time.perf_counter()
        found["tiles"] = tiles / (time.perf_counter() - begun)
    own = [memory(worker.pid) for worker in getattr(batches.loader._iterator, "_workers", ())]
    return found | {f"worker {name}": max((m[name] for m in own), default=0.0) for name in ("rss", "pss", "own")}


def rates(folder: Path, rounds: int = 12) -> dict[str, float]:
    """Tiles a second of CPU, in turns: h5py key by key; these decoded, augmented, stacked; the loader with tables."""
    dataset = dataset_of(Manifest.read(folder / "cases.parquet"))
    collate = Collate(tables=dataset.tables)
    draws, rng, many = np.random.default_rng(0), np.random.default_rng(1), PATIENTS_A_BATCH * LESIONS
    picture = dataset.pictures[0][0]
    took: dict[str, list[float]] = {"read": [], "plain": [], "loader": []}
    with h5py.File(folder / "train-image.hdf5") as file:
        for _ in range(rounds):
            for name, rows in zip(took, draws.integers(ROWS, size=(3, many)).tolist(), strict=True):
                start = time.process_time()
                if name == "loader":
                    collate([dataset[0, row] for row in rows])
                    took[name].append(time.process_time() - start)
                    continue
                drawn = []
                for row in rows:
                    tile = file[f"ISIC_{row:07d}"][()].tobytes()
                    if name == "plain":
                        drawn.append(torch.from_numpy(views(tile, picture.augmentation, rng, picture.normalise)))
                if drawn:
                    torch.stack(drawn)
                took[name].append(time.process_time() - start)
    return {name: many / float(np.median(seconds)) for name, seconds in took.items()}


PARTS: dict[str, Callable[[Path], dict[str, float]]] = {
    "import": reading,
    "memory": holding,
    "rates": rates,
    "no workers": lambda folder: epochs(folder, 0),
    "2 workers": lambda folder: epochs(folder, 2),
    "2 workers, small views": lambda folder: epochs(
        folder, 2, side=16
    ),  # views of 128 pixels would hide what is copied
}


def apart(folder: Path, part: str) -> dict[str, float]:
    """A part in a process of its own."""
    command = [sys.executable, __file__, str(folder), "--part", part]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def shown(rows: Sequence[tuple[str, str, str]]) -> str:
    lines = ["| measured | here | beside it |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {a} | {b} | {c} |" for a, b, c in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=PARTS)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments.folder)))
        return
    start = time.perf_counter()
    fabricate(arguments.folder)
    print(f"{ROWS:,} rows and tiles there after {time.perf_counter() - start:.0f} s; load {os.getloadavg()[0]:.1f}")
    found = {part: apart(arguments.folder, part) for part in PARTS}
    read, held, alone, none, two, small = found.values()
    print(shown([
        ("`dermis import`", f"{read['seconds']:.1f} s, {read['cpu']:.1f} s of CPU",
         f"{read['seconds'] / read['plain']:.1f} times pandas' `read_csv` and h5py's keys"),
        ("its peak memory", f"{read['peak']:,.0f} MB", f"{read['peak'] / held['data']:.1f} times the table"),
        ("the table in Parquet, read again", f"{held['read']:.1f} s", ""),
        ("table, paths and tensors", f"{held['data'] + held['paths'] + held['tensors']:.0f} MB",
         f"limit {LIMIT_MB} MB; {held['data']:.0f} table, {held['paths']:.0f} paths, {held['tensors']:.0f} tensors"),
        ("what the process grew by", f"{held['rss']:.0f} MB", f"{held['trimmed']:.0f} MB once Arrow gives back"),
        ("first batch, no workers", f"{none['first 0']:.1f} s; epoch 2: {none['first 1']:.1f} s", f"limit {LIMIT_S} s"),
        ("first batch, 2 workers", f"{two['first 0']:.1f} s; epoch 2: {two['first 1']:.1f} s", f"limit {LIMIT_S} s"),
        ("h5py alone, key by key", f"{alone['read']:,.0f} tiles a CPU second", ""),
        ("the same, decoded, augmented, stacked", f"{alone['plain']:,.0f} tiles a CPU second", ""),
        ("loader, no workers", f"{alone['loader']:,.0f} tiles a CPU second",
         f"{alone['loader'] / alone['plain']:.2f} of the plain loop; limit 0.8"),
        ("loader, 2 workers", f"{two['tiles']:,.0f} tiles a second", f"{two['tiles'] / none['tiles']:.2f} of none"),
        ("a worker's own memory", f"{small['worker own']:.0f} MB of {small['worker rss']:.0f} MB resident",
         f"the file has {(arguments.folder / 'train-image.hdf5').stat().st_size / 2**20:,.0f} MB"),
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
