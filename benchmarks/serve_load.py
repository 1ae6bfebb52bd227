"""`dermis serve` under load on this machine: clients that ask as fast as they are answered, below and above the limit.

    python benchmarks/serve_load.py MODEL PICTURES [--seconds 60] [--clients 8] [--route embed]

``PICTURES``: a folder of pictures, sent in turn. The service runs in a process of its own with one thread for the
model, the clients in others, all on the loopback address. Three runs: batches of up to 16, batches of 1 (the ratio of
their rates is what batching brings), and four times as many clients as a service with room for ``clients`` takes in,
where every answer has to be 200 or 429.
"""

import json
import re
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import tyro
from service import served


@dataclass(frozen=True)
class Run:
    """What the clients of one run saw; times in seconds."""

    statuses: Counter
    times: np.ndarray
    rate: float
    """answers of status 200 in a second"""
    batch: float
    """mean number of cases that went through the model together"""

    def row(self, name: str) -> str:
        """A line of the table."""
        p50, p95, p99 = 1000 * np.quantile(self.times, [0.5, 0.95, 0.99])
        said = ", ".join(f"{count:,} × {status}" for status, count in sorted(self.statuses.items(), key=str))
        return f"| {name} | {said} | {self.rate:.1f} | {p50:.0f} / {p95:.0f} / {p99:.0f} | {self.batch:.1f} |"


def client(url: str, route: str, pictures: list[bytes], seconds: float, start: float) -> list[tuple[float, str]]:
    """(time of the answer, its status) of requests one after the other."""
    found, end = [], start + seconds
    with httpx.Client(timeout=60) as session:
        time.sleep(max(0, start - time.time()))
        for picture in cycle(pictures):
            began = time.time()
            if began >= end:
                return found
            try:
                status = str(session.post(f"{url}/v1/{route}", files={"image": picture}).status_code)
            except httpx.TransportError as error:
                status = type(error).__name__
            found.append((time.time() - began, status))
            if status == "429":
                time.sleep(0.05)
    raise ValueError("no pictures to send")


def under_load(model: str, pictures: list[bytes], clients: int, seconds: float, route: str, *options: str) -> Run:
    """One service, started and stopped, and what its clients saw."""
    with served(model, *options) as (url, _), ProcessPoolExecutor(clients) as pool:
        start = time.time() + 5  # until all clients have started
        shares = [pictures[i::clients] or pictures for i in range(clients)]
        asked = [pool.submit(client, url, route, share, seconds, start) for share in shares]
        found = [one for each in asked for one in each.result()]
        counts = httpx.get(f"{url}/metrics", timeout=60).text
    total, number = (float(re.search(rf"dermis_batch_size_{what} (\S+)", counts)[1]) for what in ("sum", "count"))
    good = np.array([took for took, status in found if status == "200"])
    return Run(Counter(status for _, status in found), good, len(good) / seconds, total / number)


def main(
    model: Annotated[str, tyro.conf.arg(name="model")],
    pictures: Annotated[Path, tyro.conf.arg(name="pictures")],
    /,
    seconds: float = 60,
    clients: int = 8,
    route: str = "embed",
    limit: int = 200,
) -> None:
    """Three runs, a table, and whether anything but 200 and 429 came back."""
    files = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:limit]
    data = [path.read_bytes() for path in files]
    together = under_load(model, data, clients, seconds, route, "--waiting", str(2 * clients))
    alone = under_load(model, data, clients, seconds, route, "--waiting", str(2 * clients), "--batch", "1")
    crowd = under_load(model, data, 4 * clients, seconds, route, "--waiting", str(clients))
    print("| run | answers | answers of 200 in a second | ms: median / p95 / p99 | mean batch |\n|---|---|---|---|---|")
    print(together.row(f"{clients} clients, batches of up to 16"))
    print(alone.row(f"{clients} clients, batches of 1"))
    print(crowd.row(f"{4 * clients} clients, room for {clients}"))
    print(f"\nrate in batches over one by one: {together.rate / alone.rate:.2f}")
    wrong = {status for run in (together, alone) for status in run.statuses} - {"200"}
    wrong |= set(crowd.statuses) - {"200", "429"}
    print(json.dumps({"unexpected": sorted(wrong)}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    tyro.cli(main)
