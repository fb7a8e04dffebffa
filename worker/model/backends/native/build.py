"""Compile the kernels for this processor, once: the library is kept in a cache directory and found there by every later start.

The key is everything that the result depends on: the source, the flags, the compiler and the processor. Images without a compiler
carry a filled cache (`GIST_CACHE_DIR`).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = Path(__file__).with_name("kernels.cpp")
_HEADERS = (
    "attention",
    "vectors",
    "profile",
    "tiles",
    "tiled_attention",
    "tiled_encoder",
    "tiled_numbers",
    "tiled_readings",
    "tiled_batch",
)
_SOURCES = (SOURCE, *(SOURCE.with_name(f"{it}.h") for it in _HEADERS))
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-w", "-fopenmp", "-shared", "-fPIC")
_COMPILERS = ("c++", "g++", "clang++")
_TIMEOUT_S = 120


class BackendUnavailable(Exception):
    """A way to run the model that this machine does not offer, and why: the next one is taken."""


def cache_directory() -> Path:
    """Return where compiled kernels are kept: `GIST_CACHE_DIR`, else `gist-stream` in the user's cache."""
    if given := os.environ.get("GIST_CACHE_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gist-stream"


def library(*, is_profiled: bool = False) -> ctypes.CDLL:
    """Load the kernels, and compile them first if needed. Raises `BackendUnavailable`."""
    directory = cache_directory()
    flags = [*_FLAGS, *(["-DGIST_PROFILE"] if is_profiled else [])]
    parts = [*(it.read_text() for it in _SOURCES), *flags, _processor()]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    path = directory / f"kernels-{key}.so"
    try:
        if not path.exists():
            _compile_once(path, flags)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BackendUnavailable(f"the compiled kernels cannot be kept in {directory} or loaded from there: {error}") from error


def _compile_once(path: Path, flags: Sequence[str]) -> None:
    """Let one of several processes that start together compile, while the others wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The directory itself is locked: a lock file would lie about for ever, and the kernel frees the lock of one who dies.
    lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _compile(path, flags)
    finally:
        os.close(lock)


def _compile(path: Path, flags: Sequence[str]) -> None:
    """Compile into place, in one step, so that processes that start together do not meet a half-written file."""
    compiler = _compiler()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="compiling-") as directory:
        target = Path(directory) / path.name
        command = [compiler, *flags, str(SOURCE), "-o", str(target)]
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


def _processor() -> str:
    """Return what `-march=native` depends on: the architecture, the model and the instructions."""
    described = [platform.machine()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        described += sorted({line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part"))})
    return "\n".join(described)
