"""What shards bring, and what importing costs: ``python benchmarks/shards.py FOLDER [--files 20000] [--rows 100000]``

Reading: pictures of 59 KB (random bytes: nothing is decoded) one after the other in a random order, from plain files
and from shards, and in order by webdataset; samples per second, medians, the ways taking turns. Cold: the page cache is
told to forget the files first (posix_fadvise), which a virtual disk's host may not.

Importing: a folder per class of ``--rows`` small JPEGs (hard links of a few) by `dermis import`, with and without
`--shards`, and of a tenth of the rows: seconds, and peak memory of the process. ``FOLDER`` keeps the data.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import webdataset
from pictures import photographs

from dermis.cases.manifest import Manifest
from dermis.cases.shards import write_shards
from dermis.pictures.store import read_bytes
from dermis.progress import counting

BYTES, CLASSES = 59_000, 20


def plain_files(folder: Path, count: int) -> Manifest:
    """Files of random bytes, 1,000 to a folder."""
    names = [f"{i // 1000:03d}/{i:06d}.jpg" for i in range(count)]
    rng = np.random.default_rng(0)
    for name in names:
        if not (path := folder / name).exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.bytes(BYTES))
    return Manifest.build(pd.DataFrame({"case_id": names, "image": names}), folder)


def forget(folder: Path) -> None:
    """Ask the page cache to drop everything below ``folder``."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_turns(ways: dict[str, Callable[[], Iterable[bytes]]], repetitions: int, cold: list[Path]) -> dict[str, float]:
    """Samples per second of each way."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            for folder in cold:
                forget(folder)
            start, count = time.perf_counter(), 0
            for data in way():
                assert len(data) == BYTES
                count += 1
            rates[name].append(count / (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in rates.items()}


def reading(folder: Path, count: int, repetitions: int) -> None:
    files = plain_files(folder / "files", count)
    with counting("writing shards") as progress:
        sharded, _ = write_shards(files, folder / "shards", progress=progress)
    order = np.random.default_rng(1).permutation(count)
    tars = [str(path) for path in sorted((folder / "shards").glob("*.tar"))]

    def by_path(manifest: Manifest, rows: Iterable[int]) -> Callable[[], Iterable[bytes]]:
        paths = manifest.table["image"].tolist()
        return lambda: (read_bytes(manifest.root, paths[row]) for row in rows)

    ways = {
        "open().read(), shuffled": lambda: ((files.root / files.table["image"][i]).read_bytes() for i in order),
        "plain files, shuffled": by_path(files, order),
        "shards, shuffled": by_path(sharded, order),
        "shards, in order": by_path(sharded, range(count)),
        "webdataset, in order": lambda: (s["image.jpg"] for s in webdataset.WebDataset(tars, shardshuffle=False)),
    }
    warm = in_turns(ways, repetitions, [])
    cold = in_turns(ways, repetitions, [folder / "files", folder / "shards"])
    print(f"\n{count} pictures of {BYTES} bytes\n\n| | warm, /s | ratio | cold, /s | ratio |\n|---|---|---|---|---|")
    for name in ways:
        ratios = [rates[name] / rates["plain files, shuffled"] for rates in (warm, cold)]
        print(f"| {name} | {warm[name]:,.0f} | {ratios[0]:.2f} | {cold[name]:,.0f} | {ratios[1]:.2f} |")


def importing(folder: Path, rows: int) -> None:
    print("\n| dermis import folder | seconds | peak memory, MB |\n|---|---|---|")
    jpegs = photographs(120, 160, 16, 6_000)
    for count in (rows // 10, rows):
        tree = folder / f"classes-{count}"
        for i in range(count):
            if not (path := tree / f"class {i % CLASSES:02d}" / f"{i:06d}.jpg").exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                first = tree / f"class {i % CLASSES:02d}" / f"{i % CLASSES:06d}.jpg"
                if path == first:
                    path.write_bytes(jpegs[i % len(jpegs)])
                else:
                    os.link(first, path)
        for shards in (False, True):
            out = folder / f"imported-{count}"
            command = [sys.executable, "-m", "dermis", "import", "folder", str(tree), "--out", f"{out}.parquet"]
            subprocess.run(["rm", "-rf", f"{out}-shards"], check=True)
            command += ["--shards", f"{out}-shards"] if shards else []
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            assert status == 0
            seconds, peak = time.perf_counter() - start, used.ru_maxrss / 1024
            print(f"| {count:,} rows{', with shards' if shards else ''} | {seconds:.1f} | {peak:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=3)
    settings = parser.parse_args()
    importing(settings.folder, settings.rows)
    reading(settings.folder, settings.files, settings.repetitions)


if __name__ == "__main__":
    main()
