"""Real data and weights, where a machine has them; tests that need them skip and say so where it has not."""

import io
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from dermis import torchvision_operators  # noqa: F401 (before any test imports timm or open_clip)

ROOT = Path(__file__).parents[1]


def _folder(variable: str, default: str, what: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT / ".." / "shared" / default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"needs the real {what}: set {variable} to their folder (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets (not redistributable, so not in the repository)."""
    return _folder("DERMIS_DATA", "data", "data sets")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Folder of the real pretrained weights."""
    return _folder("DERMIS_WEIGHTS", "weights", "weights")


class TwoRanks:
    """Two processes that stay, for importing torch takes longer than what they are asked; every call is a new group."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes, self.lines = folder, [], []

    def __call__(self, function: Callable, *arguments: Any) -> list[Any]:
        """What ``function(number, *arguments)`` of a test module returns on rank 0 and on rank 1, by way of torch.save.

        A rank that fails fails the test, and the processes are started anew.
        """
        if not self.processes:
            self._start()
        try:
            for line in self.lines:
                line.send((function, arguments))
            answers: list[Any] = [None, None]
            waited_for = list(self.lines)
            while waited_for:  # whoever answers first: where one rank fails, the other waits for it for ever
                for line in wait(waited_for):
                    saved, error = line.recv()
                    assert error is None, error
                    answers[self.lines.index(line)] = torch.load(io.BytesIO(saved), weights_only=True)
                    waited_for.remove(line)
        except BaseException:
            self.stop(patience=0)
            raise
        return answers

    def _start(self) -> None:
        spawn, group = multiprocessing.get_context("spawn"), self.folder / str(len(list(self.folder.iterdir())))
        group.mkdir()
        for number in range(2):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_rank, args=(number, theirs, group), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self.lines.append(ours)

    def stop(self, patience: float = 5) -> None:
        """Let them end by themselves, or after ``patience`` seconds in any case."""
        for line in self.lines:
            line.close()
        for process in self.processes:
            process.join(patience)
            process.kill()
            process.join()
        self.processes, self.lines = [], []


def _rank(number: int, line: Connection, folder: Path) -> None:
    for turn in count():
        saved, error = io.BytesIO(), None
        try:
            function, arguments = line.recv()
            dist.init_process_group("gloo", rank=number, world_size=2, init_method=f"file://{folder}/{turn}")
            torch.save(function(number, *arguments), saved)
            dist.destroy_process_group()
        except EOFError:
            return  # the tests are over
        except Exception:
            error = traceback.format_exc()
        line.send((saved.getvalue(), error))


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory) -> Iterator[TwoRanks]:
    """``two_ranks(function, *arguments)``: see ``TwoRanks``."""
    ranks = TwoRanks(tmp_path_factory.mktemp("ranks"))
    yield ranks
    ranks.stop()


def pytest_terminal_summary(terminalreporter) -> None:
    """Say how much was not tested because this machine has no real data."""
    missing = [r for r in terminalreporter.stats.get("skipped", []) if "needs the real" in str(r.longrepr)]
    terminalreporter.write_line(f"{len(missing)} tests skipped because real data or weights are absent")
