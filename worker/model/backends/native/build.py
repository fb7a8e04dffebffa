"""The engine's libraries: one for each set of instructions, found compiled or compiled once.

The loader looks for a library in the folder `built` of this package, where a wheel has the library, and then in a cache directory,
where `make setup` or the first start on a machine compiles the library. The name has a key of the source and of the flags of the
compiler. The build of a wheel imports this module, which therefore needs the standard library only.

python -m worker.model.backends.native.build      compile the library for this processor into the cache
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from worker.model.processor.cpu_features import flags

if TYPE_CHECKING:
    from collections.abc import Sequence

_FOLDER = Path(__file__).parent
_SOURCE = _FOLDER / "engine" / "engine.cpp"
#: Where an installation puts compiled libraries.
BUILT = _FOLDER / "built"
_FLAGS = ("-O3", "-std=c++20", "-fno-math-errno", "-w", "-shared", "-fPIC", "-pthread")
_COMPILERS = ("c++", "g++", "clang++")
_TIMEOUT_S = 300
_PROFILED = "-DGIST_PROFILE"
_LOG = logging.getLogger("gist-stream")


class BackendUnavailable(Exception):
    """A backend that this machine cannot run, and the reason; the next backend is tried."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A set of instructions that the engine is compiled for."""

    name: str
    #: The compiler's flags.
    flags: tuple[str, ...]
    #: The processor's flags in `/proc/cpuinfo` that the variant needs.
    needs: frozenset[str]
    #: The architectures of the machine; empty for all.
    machines: frozenset[str] = frozenset({"x86_64", "AMD64"})

    @property
    def fits_architecture(self) -> bool:
        """Whether processors of this machine's architecture may have the instructions."""
        return not self.machines or platform.machine() in self.machines

    @property
    def runs_here(self) -> bool:
        """Whether this machine has the instructions."""
        return self.fits_architecture and self.needs <= flags()


_AVX2 = frozenset({"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_VNNI = _AVX512 | {"avx512_vnni"}
#: The fastest first; the last runs everywhere.
VARIANTS = (
    Variant("amx", ("-march=sapphirerapids",), _VNNI | {"avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "amx_tile"}),
    Variant("avx512_bf16", ("-march=cooperlake",), _VNNI | {"avx512_bf16"}),
    Variant("avx512_vnni", ("-march=cascadelake",), _VNNI),
    Variant("avx512", ("-march=skylake-avx512",), _AVX512),
    Variant("avx_vnni", ("-march=haswell", "-mavxvnni"), _AVX2 | {"avx_vnni"}),
    Variant("avx2", ("-march=haswell",), _AVX2),
    Variant("portable", (), frozenset(), frozenset()),
)


def cache_directory() -> Path:
    """Return where compiled kernels are kept: `GIST_CACHE_DIR`, else `gist-stream` in the user's cache."""
    if given := os.environ.get("GIST_CACHE_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gist-stream"


def find_variant(name: str) -> Variant:
    """Return the variant of a name."""
    return next(variant for variant in VARIANTS if variant.name == name)


def load_fastest() -> tuple[Variant, ctypes.CDLL]:
    """Load the library of the fastest variant that runs here and can be compiled; raises `BackendUnavailable`."""
    reasons = []
    for variant in VARIANTS:
        if variant.runs_here:
            try:
                return variant, load(variant)
            except BackendUnavailable as error:
                reasons.append(f"{variant.name}: {error}")
    raise BackendUnavailable("; ".join(reasons))


def load(variant: Variant, *, is_profiled: bool = False) -> ctypes.CDLL:
    """Load the library of a variant, compiled first if there is none; `is_profiled` selects the library that measures its stages.

    Raises `BackendUnavailable`.
    """
    if not variant.runs_here:
        missing = ", ".join(sorted(variant.needs - flags())) or "the architecture"
        raise BackendUnavailable(f"the CPU does not support {variant.name}: missing {missing}")
    own = compiler_flags(variant, is_profiled=is_profiled)
    name = library_name(variant, is_profiled=is_profiled)
    path = BUILT / name if (BUILT / name).exists() else cache_directory() / name
    try:
        if not path.exists():
            began = time.monotonic()
            _compile_once(path, own)
            seconds = round(time.monotonic() - began, 1)
            _LOG.info("kernels_compiled", extra={"variant": variant.name, "seconds": seconds, "file": str(path)})
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BackendUnavailable(
            f"the compiled kernels cannot be written to {path.parent} or loaded from there: {error}"
        ) from error


def compiler_flags(variant: Variant, *, is_profiled: bool = False) -> tuple[str, ...]:
    """Return the compiler's flags for a variant."""
    return (*_FLAGS, *variant.flags, *([_PROFILED] if is_profiled else []))


def library_name(variant: Variant, *, is_profiled: bool = False) -> str:
    """Return the name of a library's file, with the key of its source and flags."""
    key = hashlib.sha256("\0".join([read_source(), *compiler_flags(variant, is_profiled=is_profiled)]).encode()).hexdigest()[:16]
    return f"engine-{variant.name}-{key}.so"


@cache
def read_source() -> str:
    """Return the source of the engine, all files in order of their names."""
    files = sorted([*_FOLDER.glob("*/*.h"), *_FOLDER.glob("*/*.cpp")])
    return "\0".join(f"{file.relative_to(_FOLDER)}\0{file.read_text()}" for file in files)


def compile_variants(directory: str) -> tuple[list[Path], list[str]]:
    """Compile all variants for this machine's architecture into a directory, as many at a time as there are cores.

    Returns the files, and the reasons for missing ones.
    """

    def compile_variant(variant: Variant) -> Path | str:
        path = Path(directory) / library_name(variant)
        try:
            compile_library(path, compiler_flags(variant))
        except BackendUnavailable as error:
            return f"{variant.name}: {error}"
        return path

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(compile_variant, [variant for variant in VARIANTS if variant.fits_architecture]))
    return [path for path in found if isinstance(path, Path)], [reason for reason in found if isinstance(reason, str)]


def _compile_once(path: Path, own: Sequence[str]) -> None:
    """Compile in one of several processes that start together; the others wait for the library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The directory itself is locked: a lock file would stay for ever, and the kernel frees the lock of a process that dies.
    lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            compile_library(path, own)
    finally:
        os.close(lock)


def compile_library(path: Path, own: Sequence[str]) -> None:
    """Compile into place, in one step, so that processes that start together do not meet a half-written file."""
    compiler = _compiler()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="compiling-") as directory:
        target = Path(directory) / path.name
        command = [compiler, *own, str(_SOURCE), "-o", str(target)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603  our own
        except subprocess.TimeoutExpired as error:
            raise BackendUnavailable(f"{compiler} did not finish the kernels within {_TIMEOUT_S} s") from error
        if done.returncode:
            raise BackendUnavailable(f"{compiler} does not compile the kernels: {done.stderr.strip()[:300]}")
        target.replace(path)


def _compiler() -> str:
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else _COMPILERS
    for name in wanted:
        if found := shutil.which(name):
            return found
    raise BackendUnavailable(f"there is no C++ compiler ({', '.join(wanted)}) and no compiled kernels in {cache_directory()}")


if __name__ == "__main__":
    try:
        load_fastest()
    except BackendUnavailable as unavailable:
        sys.exit(f"the kernels are not compiled: {unavailable}")
