"""`dermis serve` in a process of its own on the loopback address, for the benchmarks that ask it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


@contextmanager
def served(model: str, *options: str, log: Path | None = None) -> Iterator[tuple[str, int]]:
    """Address and process of a service with one thread for the model; it is stopped at the end.

    ``log``: the file of its standard error (none: a temporary one). Raises RuntimeError, with the log, if it does not
    start.
    """
    command = [sys.executable, "-m", "dermis", "serve", model, "--port", "0", "--threads", "1", *options]
    with tempfile.TemporaryDirectory() as folder:
        log = log or Path(folder) / "service.log"
        with log.open("w") as out:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=out, text=True, env=environment)
        try:
            assert service.stdout is not None
            if not (url := re.search(r"http://\S+", service.stdout.readline())):
                raise RuntimeError(f"the service did not start:\n{log.read_text()}")
            httpx.get(f"{url[0]}/health", timeout=60).raise_for_status()
            yield url[0], service.pid
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
