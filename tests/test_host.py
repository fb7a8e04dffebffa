"""The CPU cores of the process, and the threads that use them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from worker.host import ThreadPlan, count_cores, list_cores, raise_niceness

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def tree(root: Path, groups: str, **files: str) -> Path:
    """Write a tree of kernel files: the control groups of the process, and files by their path below the mount."""
    for path, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root


QUOTAS = [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1), ("9900000 100000", 8)]


@pytest.mark.parametrize(("quota", "expected"), QUOTAS)
def test_a_limit_is_rounded_up_and_never_raises(tmp_path: Path, quota: str, expected: int) -> None:
    """A part of a core counts as a core, and no quota exceeds the affinity."""
    assert count_cores(tree(tmp_path, "0::/\n", **{"cpu.max": quota + "\n"})) == expected


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    """The quotas of all parent groups count, and those of sibling groups do not."""
    limits = {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n", "a/c/cpu.max": "100000 100000\n"}
    assert count_cores(tree(tmp_path, "0::/a/b\n", **limits)) == 3


def test_a_path_of_the_host_leads_to_the_mounts_root(tmp_path: Path) -> None:
    """A container without a cgroup namespace has its own group at the root of the mount."""
    limits = {"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}
    assert count_cores(tree(tmp_path, "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n", **limits)) == 3


def test_version_one_without_a_limit(tmp_path: Path) -> None:
    """In version 1, a quota of -1 is no limit."""
    limits = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert count_cores(tree(tmp_path, "4:cpu:/\n0::/\n", **limits)) == 8


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    """The affinity is the only limit."""
    assert count_cores(tmp_path) == 8


def test_threads_of_one_core_stand_beside_each_other(tmp_path: Path) -> None:
    """Cores are sorted by package and core, or by number if the kernel has no topology."""
    assert list_cores(tmp_path) == list(range(8))
    for core in range(8):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{core}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{core % 2}\n")
        (topology / "core_id").write_text(f"{core // 2 % 2}\n")
    assert list_cores(tmp_path) == [0, 4, 2, 6, 1, 5, 3, 7]


@pytest.mark.parametrize(("num_cores", "expected"), [(1, ThreadPlan(1, 1)), (2, ThreadPlan(2, 1)), (16, ThreadPlan(16, 4))])
def test_the_products_take_every_core_and_the_tokenizer_a_quarter(num_cores: int, expected: ThreadPlan) -> None:
    """Each has at least one thread."""
    assert ThreadPlan.build(num_cores) == expected


def test_given_numbers_of_threads_are_kept() -> None:
    """A given number of threads does not change the other number."""
    assert ThreadPlan.build(2, matmul=1) == ThreadPlan(1, 1)
    assert ThreadPlan.build(2, tokenizer=2) == ThreadPlan(2, 2)


def test_the_libraries_are_told_and_a_users_policy_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries read the environment when they are loaded."""
    # Set first, so that it is put back.
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    ThreadPlan(2, 1).prepare()
    names = ("RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM", "OMP_WAIT_POLICY")
    assert [os.environ[name] for name in names] == ["1", "false", "passive"]
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    ThreadPlan(8, 2).prepare()
    assert [os.environ[name] for name in names] == ["2", "true", "active"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_glibc_takes_every_wish() -> None:
    """The test needs its own process, because the setting changes the memory of the process."""
    code = "from worker.host import keep_malloc_arenas; print(keep_malloc_arenas())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_kept_memory_can_be_returned_to_the_system() -> None:
    """Freed memory stays with the process until `trim_malloc` returns it to the system."""
    code = """
from ctypes import CDLL, c_size_t, c_void_p, memset
from pathlib import Path
from worker.host import keep_malloc_arenas, trim_malloc

def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

keep_malloc_arenas()
libc = CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = c_void_p, [c_size_t], [c_void_p]
blocks = [libc.malloc(16 << 20) for _ in range(4)]
for block in blocks:
    memset(block, 1, 16 << 20)
used = resident_pages()
for block in blocks:
    libc.free(block)
kept = resident_pages()
trim_malloc()
print(used - kept < 1000, kept - resident_pages() > 10_000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_frozen_objects_are_never_collected() -> None:
    """Objects that are created after `freeze_gc` are still collected."""
    code = """
import gc, weakref
from worker.host import freeze_gc

class Node:
    pass

freeze_gc()
print(gc.get_freeze_count() > 1000)
node = Node()
node.itself, gone = node, weakref.ref(node)
del node
gc.collect()
print(gone() is None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\nTrue\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness for each thread")
def test_a_thread_is_nicer_than_the_process() -> None:
    """A thread gives way to the others, whose priority does not change."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with ThreadPoolExecutor(1, initializer=raise_niceness, initargs=(2,)) as executor:
        inside = executor.submit(os.getpriority, os.PRIO_PROCESS, 0).result()
    assert (inside, os.getpriority(os.PRIO_PROCESS, 0)) == (min(19, before + 2), before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness for each thread")
def test_a_denied_change_of_the_priority_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter of system calls may deny what needs no right; the thread works nevertheless."""

    def deny(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", deny)
    raise_niceness(2)
