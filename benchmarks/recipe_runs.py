"""Many runs of one recipe with other settings, a few at a time, and their figures as a Markdown table."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

# large temporaries come back from the heap instead of being mapped afresh, page by page, each time
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
Figure = tuple[float, float, float]
"""value and the ends of its interval"""


def run(folder: Path, name: str, arguments: Sequence[str]) -> None:
    """``dermis ARGUMENTS --out FOLDER`` in one thread, unless its report is there; says how long it took."""
    if list(folder.rglob("report.json")):
        return
    started = time.monotonic()
    command = [sys.executable, "-m", "dermis", *arguments, "--out", str(folder)]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    sys.stderr.write(f"{name}: {time.monotonic() - started:.0f} s\n")


def run_all(jobs: int, wanted: Sequence[tuple[Path, str, Sequence[str]]]) -> None:
    """``run`` each, ``jobs`` at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda one: run(*one), wanted))


def overall(folder: Path) -> dict[str, Figure]:
    """Metric -> value and interval over everybody, of a report that has one protocol about one label."""
    found = json.loads(next(folder.rglob("report.json")).read_text())["entries"]
    of_all = [e for e in found if not e["class_name"] and not e["subgroup"]]
    return {e["metric"]: (e["value"], e["low"], e["high"]) for e in of_all}


def table(
    rows: Sequence[str], columns: Sequence[str], seeds: int, figures: Callable[[str, int], Mapping[str, Figure]]
) -> str:
    """A row each: mean over seeds, in brackets the mean ends of the intervals, then the lowest and highest seed."""
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in rows:
        runs, cells = [figures(name, seed) for seed in range(seeds)], []
        for column in columns:
            if column not in runs[0]:
                cells.append("")
                continue
            value, low, high = np.mean([r[column] for r in runs], axis=0)
            each = [r[column][0] for r in runs]
            digits = 3 if abs(value) < 10 else 1
            cells.append(
                f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}] "
                f"({min(each):.{digits}f} to {max(each):.{digits}f})"
            )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
