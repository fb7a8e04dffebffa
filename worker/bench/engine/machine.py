"""What a run took place on, and what else happened there meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_MEASURED = ("torch", "transformers", "sentence-transformers", "openvino")
_INSTRUCTIONS = {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"}


def fastest_device() -> str:
    """Return `cuda` where there is a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def machine(threads: int, device: str) -> dict[str, Any]:
    """Say what it ran on: the GPU, the processor, its cores, and the versions of what was measured."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = {flag for line in lines[:64] if line.startswith("flags") for flag in line.split()}
    versions = {}
    for package in _MEASURED:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        **({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}),
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "instructions": " ".join(sorted(flags & _INSTRUCTIONS)) or "none known",
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "python": platform.python_version(),
        **versions,
    }


class OtherPrograms:
    """How much of the machine others took, from when this is made until it is asked."""

    def __init__(self) -> None:
        """Begin."""
        self._busy_s, self._own_s, self._started_s = _busy_s(), _own_s(), time.monotonic()

    def share(self) -> float | None:
        """Return the share of all cores that others took, from 0 to 1; None where the kernel does not say. Ours must have ended."""
        busy_s = _busy_s()
        if busy_s is None or self._busy_s is None:
            return None
        others_s = busy_s - self._busy_s - (_own_s() - self._own_s)
        return round(min(1.0, max(0.0, others_s / (time.monotonic() - self._started_s) / (os.cpu_count() or 1))), 2)


def _busy_s() -> float | None:
    """Return the seconds that all cores have worked since the machine started, for whomever."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _idle, _waiting, irq, soft_irq, stolen = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + soft_irq + stolen) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Return the seconds that this process and those of its children that have ended have worked."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(it.ru_utime + it.ru_stime for it in used)
