"""What the process may use of its machine, and how it shares that out. Called before torch and the tokenizer are loaded.

Event loop, tokenizer and matrix products share the cores. The products take all of them, in bursts; the tokenizer is many times
faster than the model, so few threads do; and a thread that waits must sleep, so that the event loop finds a core.
"""

from __future__ import annotations

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
# The largest that glibc takes.
_LARGEST_MMAP_THRESHOLD_BYTES = 32 << 20
_TRIM_THRESHOLD_BYTES = 1 << 30
_NEW_OBJECTS_PER_COLLECTION = 10_000
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ThreadPlan:
    """How many threads do what."""

    #: Of the matrix products.
    matmul: int
    #: Of the tokenizer.
    tokenizer: int

    @classmethod
    def build(cls, count_cores: int, *, matmul: int = 0, tokenizer: int = 0) -> ThreadPlan:
        """Plan for so many cores; what is given and not 0 stands."""
        return cls(matmul or count_cores, tokenizer or max(1, count_cores // _CORES_PER_TOKENIZER_THREAD))

    def prepare(self) -> None:
        """Tell the libraries, which read their environment once, when they are loaded."""
        os.environ["RAYON_NUM_THREADS"] = str(self.tokenizer)
        # By default OpenMP's threads spin between two products, on the core that the event loop waits for.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def count_cores(root: Path = Path("/")) -> int:
    """Return how many cores the process may use, at least 1: those of its affinity, within the limits of its control groups."""
    limits = [quota for directory in _control_groups(root) if (quota := _quota(directory)) is not None]
    return max(1, min([len(os.sched_getaffinity(0)), *(math.ceil(it) for it in limits)]))


def list_cores(root: Path = Path("/")) -> list[int]:
    """Return the cores of the process's affinity, those of one package together, and threads of one core beside each other."""

    def place(core: int) -> tuple[int, int, int]:
        topology = root / f"sys/devices/system/cpu/cpu{core}/topology"
        package, number = (_number(topology / it) for it in ("physical_package_id", "core_id"))
        return package, number, core

    return sorted(os.sched_getaffinity(0), key=place)


def die_with_parent(parent: int) -> None:
    """Be told to drain when the process `parent` ends, however it ends; end at once where it has ended already."""
    if prctl := getattr(ctypes.CDLL(None), "prctl", None):
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


def keep_malloc_arenas() -> bool:
    """Let glibc keep freed memory and share one heap among threads; return whether it does.

    Every pass needs the same large matrices. Handed back after each, their pages would be fetched and cleared anew by the next. The
    process stays as large as its largest batch made it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = {
        _M_ARENA_MAX: 1,
        _M_MMAP_THRESHOLD: _LARGEST_MMAP_THRESHOLD_BYTES,
        _M_TRIM_THRESHOLD: _TRIM_THRESHOLD_BYTES,
    }
    return mallopt is not None and all(mallopt(option, value) == 1 for option, value in wanted.items())


def trim_malloc() -> None:
    """Hand back what glibc keeps: after a model is loaded, when the weights as they were read are no longer needed, or let go."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def freeze_gc() -> None:
    """Keep Python's collector of cycles away from everything that is there now: once, before the first record.

    A look at the objects of the loaded libraries, hundreds of thousands, holds up everybody for a tenth of a second, each time.
    What comes later is mostly records, which are no cycles: it is looked at seldom.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS_PER_COLLECTION)


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # a kernel that does not say puts every core at one place
        return 0


def _control_groups(root: Path) -> list[Path]:
    """Return the directories of our control groups and of those above them, of both versions."""
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
        found += [mounts / name / it for name in names for it in (inside, *inside.parents)]
    return list(dict.fromkeys(found))


def _quota(directory: Path) -> float | None:
    """Return the cores' worth of time that a control group may take; None where it has no limit."""
    try:
        if (directory / "cpu.max").exists():
            quota, period = (directory / "cpu.max").read_text().split()
        elif (directory / "cpu.cfs_quota_us").exists():
            quota, period = ((directory / f"cpu.cfs_{it}_us").read_text().strip() for it in ("quota", "period"))
        else:
            return None
    except OSError:  # a group that we may not read cannot be counted
        return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)
