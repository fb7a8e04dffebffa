"""The cores, threads, memory and signals of the process. Called before torch and the tokenizer are loaded.

Event loop, tokenizer and matrix products share the cores. The products use all cores in bursts. The tokenizer is many
times faster than the model, so it needs few threads. Waiting threads must sleep, so that the event loop has a core.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_CORES_PER_TOKENIZER_THREAD = 4
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# The maximum of glibc.
_LARGEST_MMAP_THRESHOLD_BYTES = 32 << 20
_TRIM_THRESHOLD_BYTES = 1 << 30
_NEW_OBJECTS_PER_COLLECTION = 10_000
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ThreadPlan:
    """The number of threads of each library."""

    #: Threads of the matrix products.
    matmul: int
    #: Threads of the tokenizer.
    tokenizer: int

    @classmethod
    def build(cls, count_cores: int, *, matmul: int = 0, tokenizer: int = 0) -> ThreadPlan:
        """Return the plan for a number of cores; a given number other than 0 takes precedence."""
        return cls(matmul or count_cores, tokenizer or max(1, count_cores // _CORES_PER_TOKENIZER_THREAD))

    def prepare(self) -> None:
        """Set the environment variables that the libraries read when they are loaded."""
        os.environ["RAYON_NUM_THREADS"] = str(self.tokenizer)
        # With one thread the tokenizer runs in the thread that calls it. The switch to another one takes longer than a short text.
        os.environ["TOKENIZERS_PARALLELISM"] = str(self.tokenizer > 1).lower()
        # By default the threads of OpenMP spin between two products and occupy the core that the event loop needs.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def count_cores(root: Path = Path("/")) -> int:
    """Return the number of usable cores, at least 1: those of the affinity, within the limits of the control groups."""
    limits = [quota for directory in _control_groups(root) if (quota := _read_quota(directory)) is not None]
    return max(1, min([len(os.sched_getaffinity(0)), *(math.ceil(limit) for limit in limits)]))


def list_cores(root: Path = Path("/")) -> list[int]:
    """Return the cores of the affinity, sorted by package and then by physical core."""

    def sort_key(core: int) -> tuple[int, int, int]:
        topology = root / f"sys/devices/system/cpu/cpu{core}/topology"
        package, number = (_read_number(topology / name) for name in ("physical_package_id", "core_id"))
        return package, number, core

    return sorted(os.sched_getaffinity(0), key=sort_key)


def die_with_parent(parent: int) -> None:
    """Let the kernel send SIGTERM when the process `parent` ends; exit at once if it has ended already."""
    if prctl := getattr(ctypes.CDLL(None), "prctl", None):
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


def keep_malloc_arenas() -> bool:
    """Let glibc keep freed memory and share one heap among threads; return whether glibc accepts the options.

    Every forward pass needs the same large matrices. If glibc returned them to the kernel, the kernel would map and
    clear their pages again for each pass. The process keeps the memory of its largest batch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = {
        _M_ARENA_MAX: 1,
        _M_MMAP_THRESHOLD: _LARGEST_MMAP_THRESHOLD_BYTES,
        _M_TRIM_THRESHOLD: _TRIM_THRESHOLD_BYTES,
    }
    return mallopt is not None and all(mallopt(option, value) == 1 for option, value in wanted.items())


def raise_niceness(increment: int) -> None:
    """Lower the priority of the calling thread below that of the other threads. Outside Linux this does nothing."""
    # Only Linux has a niceness for each thread. A filter of system calls may deny the change.
    if increment and sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + increment)


def trim_malloc() -> None:
    """Return freed memory to the kernel, after a model is loaded or unloaded."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def freeze_gc() -> None:
    """Exclude all present objects from Python's cyclic garbage collector. Call this once before the first record.

    A collection of the objects of the loaded libraries (a hundred thousand) stops the process for 0.1 s and frees almost nothing.
    Later objects are mostly records, which have no cycles, so collections are rare.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS_PER_COLLECTION)


def _read_number(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # without topology all cores have the same key
        return 0


def _control_groups(root: Path) -> list[Path]:
    """Return the directories of the process's control groups and of their parents, of both versions."""
    listed = root / "proc/self/cgroup"
    mounts = root / "sys/fs/cgroup"
    found = []
    for line in listed.read_text().splitlines() if listed.exists() else []:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            names = [".", "unified"]
        elif "cpu" in controllers.split(","):
            names = [controllers, "cpu"]
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        found += [mounts / name / group for name in names for group in (inside, *inside.parents)]
    return list(dict.fromkeys(found))


def _read_quota(directory: Path) -> float | None:
    """Return the CPU limit of a control group in cores; None without a limit."""
    try:
        if (directory / "cpu.max").exists():
            quota, period = (directory / "cpu.max").read_text().split()
        elif (directory / "cpu.cfs_quota_us").exists():
            quota, period = ((directory / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        else:
            return None
    except OSError:  # the process may not read this group
        return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)
