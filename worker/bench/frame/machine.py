"""The machine of a measurement, and how busy other programs kept it."""

from __future__ import annotations

import os
import platform
import resource
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.host import count_cores

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGES = ("torch", "transformers", "sentence-transformers", "onnxruntime", "openvino")
_INSTRUCTIONS = {"avx2", "avx_vnni", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"}
# The classes of processors by their best instruction.
_CLASSES = {"amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx512f": "AVX-512", "avx_vnni": "AVX-VNNI", "avx2": "AVX2"}
_MAKERS = ("Xeon", "EPYC", "Core", "Ryzen")
#: The key of the share of the machine that other programs used.
OTHERS = "busy with other programs"


def describe_machine() -> dict[str, Any]:
    """Return processor, vector instructions, cores, and the versions of the measured packages."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = {flag for line in lines[:64] if line.startswith("flags") for flag in line.split()}
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "instructions": " ".join(sorted(flags & _INSTRUCTIONS)) or "none known",
        "cores": count_cores(),
        "python": platform.python_version(),
        **versions,
    }


def classify_processor(machine: Mapping[str, Any]) -> str:
    """Return the class of the processor, for example `Xeon with AMX`, or the GPU: figures of one class compare best."""
    if machine.get("gpu"):
        return str(machine["gpu"])
    name, instructions = str(machine.get("processor", "")), str(machine.get("instructions", "")).split()
    best = next((title for flag, title in _CLASSES.items() if flag in instructions), "")
    maker = next((maker for maker in _MAKERS if maker in name), "")
    return " with ".join(filter(None, (maker, best))) or name or "unknown processor"


def describe_in_one_line(machine: Mapping[str, Any]) -> str:
    """Return what a reader compares first: class, processor or GPU, instructions, cores, and the share of other programs."""
    words = [classify_processor(machine)]
    words += [str(machine[name]) for name in ("processor", "instructions") if machine.get(name)]
    words += [f"{machine['cores']} cores"] if "cores" in machine else []
    if (others := machine.get(OTHERS)) is not None:
        words.append(f"other programs used {others:.0%} of the machine")
    return ", ".join(words)


class OtherPrograms:
    """Measures how much of the machine other programs use from construction on."""

    def __init__(self) -> None:
        self._busy_s, self._own_s, self._started_s = _read_busy_s(), _read_own_s(), time.monotonic()

    def share(self) -> float | None:
        """Return the share of all cores, from 0 to 1; None where the kernel does not count.

        Processes of this program count as others until they have ended.
        """
        busy_s = _read_busy_s()
        if busy_s is None or self._busy_s is None:
            return None
        others_s = busy_s - self._busy_s - (_read_own_s() - self._own_s)
        return round(min(1.0, max(0.0, others_s / (time.monotonic() - self._started_s) / (os.cpu_count() or 1))), 2)


def _read_busy_s() -> float | None:
    """Return the seconds that all cores have worked since the machine started."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _idle, _waiting, irq, soft_irq, stolen = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + soft_irq + stolen) / os.sysconf("SC_CLK_TCK")


def _read_own_s() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(target) for target in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
