"""What limits a process, read from made-up control groups of both versions."""

from dataclasses import replace
from pathlib import Path

import pytest

from dermis.doctor.machine import Machine, machine, machine_notes

GB = 2**30
PLAIN = Machine(8, 8, None, 16 * GB, None, 8 * GB, 8 * GB, 0.2)


def groups(root: Path, own: str, settings: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    for name, text in settings.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_version_2_every_group_up_to_the_top_limits(tmp_path):
    found = machine(
        groups(tmp_path, "0::/jobs/mine\n", {
            "jobs/cpu.max": "150000 100000", "jobs/mine/cpu.max": "max 100000",
            "jobs/memory.max": "max", "jobs/mine/memory.max": str(GB // 2),
        })
    )  # fmt: skip
    assert found.quota == 1.5
    assert found.memory_limit == GB // 2


def test_version_1_has_a_tree_for_each_controller(tmp_path):
    own = "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n"
    found = machine(
        groups(tmp_path, own, {
            # the process's own group lies outside what a container shows; the top is what holds
            "cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000",
            "memory/docker/abc/memory.limit_in_bytes": str(GB // 4),
            "memory/memory.limit_in_bytes": "9223372036854771712",
        })
    )  # fmt: skip
    assert found.quota == 2.5
    assert found.memory_limit == GB // 4


@pytest.mark.parametrize("own", [None, "3:cpu:/\n"])
def test_without_limits_the_machine_is_all_there_is(tmp_path, own):
    unlimited = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    found = machine(groups(tmp_path, own, unlimited) if own else tmp_path)
    assert (found.quota, found.memory_limit, found.shared) == (None, None, None)
    assert found.usable == found.affinity


@pytest.mark.parametrize(("quota", "usable"), [(None, 8), (2.5, 2), (0.5, 1), (64.0, 8)])
def test_usable_processors_are_whole_ones(quota, usable):
    assert replace(PLAIN, quota=quota).usable == usable


def test_a_note_where_threads_load_or_shared_memory_do_not_fit():
    assert machine_notes(PLAIN, threads=8) == []
    [note] = machine_notes(replace(PLAIN, quota=2.0), threads=8)
    assert "torch computes with 8 threads on 2 usable" in note.sentence
    assert "OMP_NUM_THREADS=2" in note.sentence
    [note] = machine_notes(replace(PLAIN, load=5.5), threads=8)
    assert "busy (load 5.5 on 8 processors)" in note.sentence
    [note] = machine_notes(replace(PLAIN, shared=64 * 2**20), threads=8)
    assert "shared memory has 64 MB" in note.sentence
    assert note.level == "warning"
