"""A process that is killed or asked to stop leaves a run that goes on as if nothing had happened."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dermis.cases.shards import write_shards
from dermis.training.state import checkpoints

PROGRAM = """
import sys
from pathlib import Path
import torch
from dermis.cases.manifest import Manifest
from dermis.training.config import TrainingConfig
from dermis.training.loop import Interrupted, train
from tests.training.conftest import Twins, two_views

torch.manual_seed(0)
workers, epochs = int(sys.argv[3]), int(sys.argv[4])
config = TrainingConfig(epochs=epochs, batch_size=6, lr=1e-2, checkpoint_steps=1, log_steps=1)
batches = two_views(Manifest.read(sys.argv[1]), workers=workers)
try:
    train(Twins(), batches, config, Path(sys.argv[2]), torch.device("cpu"))
except Interrupted as stop:
    print(stop)
    sys.exit(stop.status)
"""


@pytest.fixture
def start(photographs, tmp_path):
    """folder -> a process that trains there, on files or on shards."""
    photographs.write(tmp_path / "files.parquet")
    sharded, _ = write_shards(photographs, tmp_path / "shards", cases_per_shard=10)
    sharded.write(tmp_path / "shards.parquet")
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}

    def popen(folder, cases="files", workers=0, epochs=40, **group):
        arguments = [str(tmp_path / f"{cases}.parquet"), str(folder), str(workers), str(epochs)]
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **group
        )

    return popen


def wait_for_a_checkpoint(folder, process, after=0):
    while (process.poll() is None and len(newest := checkpoints(folder)) == 0) or int(newest[-1].name[5:13]) <= after:
        assert process.poll() is None, "the run ended before it could be stopped"
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_fifty_times_on_shards_with_workers_it_ends_with_the_bits_of_files_in_one_process(start, tmp_path):
    whole = start(tmp_path / "whole", epochs=400)
    assert whole.wait() == 0
    moment, step = random.Random(0), 0
    for _ in range(50):
        process = start(tmp_path / "killed", "shards", workers=2, epochs=400)
        wait_for_a_checkpoint(tmp_path / "killed" / "checkpoints", process, after=step)
        time.sleep(moment.uniform(0, 0.2))  # in a step, in the middle of a checkpoint, between the two
        assert process.poll() is None, "the run ended before it was killed fifty times"
        process.kill()
        process.wait()
        left = checkpoints(tmp_path / "killed" / "checkpoints")
        assert load_file(left[-1] / "model.safetensors")
        step = int(left[-1].name[5:13])
    assert start(tmp_path / "killed", "shards", workers=2, epochs=400).wait() == 0
    ends = [load_file(checkpoints(tmp_path / n / "checkpoints")[-1] / "model.safetensors") for n in ("whole", "killed")]
    assert all((ends[1][name] == value).all() for name, value in ends[0].items())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_says_so(start, tmp_path, number):
    process = start(tmp_path / "run")
    wait_for_a_checkpoint(tmp_path / "run" / "checkpoints", process)
    process.send_signal(number)
    said, _ = process.communicate()
    assert process.returncode == 128 + number
    newest = checkpoints(tmp_path / "run" / "checkpoints")[-1]
    assert said.strip() == f"interrupted; saved in {newest}. The same command resumes."


def alive(group):
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def wait_until_nobody_is_left(group):
    until = time.monotonic() + 60  # a worker looks for its parent every 5 seconds
    while left := alive(group):
        assert time.monotonic() < until, f"{left} stayed"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_its_workers_too_are_asked_and_the_run_still_saves_and_says_so(start, tmp_path, number):
    folder = tmp_path / "run" / "checkpoints"
    process = start(tmp_path / "run", workers=2, epochs=2000, start_new_session=True)
    wait_for_a_checkpoint(folder, process)
    workers = [pid for pid in alive(process.pid) if pid != process.pid]
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker, number)
    wait_for_a_checkpoint(folder, process, after=int(checkpoints(folder)[-1].name[5:13]) + 20)
    assert sorted(alive(process.pid)) == sorted([process.pid, *workers])
    os.killpg(process.pid, number)
    said, _ = process.communicate()
    assert process.returncode == 128 + number
    assert said.strip() == f"interrupted; saved in {checkpoints(folder)[-1]}. The same command resumes."
    wait_until_nobody_is_left(process.pid)


def test_no_worker_outlives_a_killed_run(start, tmp_path):
    process = start(tmp_path / "run", workers=2, epochs=2000, start_new_session=True)
    wait_for_a_checkpoint(tmp_path / "run" / "checkpoints", process)
    assert len(alive(process.pid)) == 3
    process.kill()
    process.wait()
    wait_until_nobody_is_left(process.pid)
