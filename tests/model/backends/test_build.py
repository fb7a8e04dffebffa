"""The kernels are compiled once, and where they cannot be, the reason is said."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from worker.model.backends.native import build
from worker.model.backends.native.build import VARIANTS, BackendUnavailable, cache_directory, load, load_fastest

if TYPE_CHECKING:
    from pathlib import Path


# Runs everywhere.
PORTABLE = VARIANTS[-1]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache."""
    monkeypatch.setenv("GIST_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def compiler(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a compiler of ours in front of the machine's."""
    path = directory / "c++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(path))


def test_a_second_start_finds_what_the_first_compiled(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where the compiler is gone by then, as in an image without one. The compilation is logged once, with its time."""
    caplog.set_level("INFO")
    assert isinstance(load(PORTABLE), ctypes.CDLL)
    assert [path.suffix for path in cache.iterdir()] == [".so"]
    compiler(tmp_path, monkeypatch, "exit 1")
    assert isinstance(load(PORTABLE), ctypes.CDLL)
    (line,) = caplog.records
    assert (line.getMessage(), vars(line)["variant"]) == ("kernels_compiled", "portable")
    assert vars(line)["seconds"] >= 0


def test_an_installation_brings_compiled_libraries(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library beside the module is loaded, and neither the compiler nor the cache is used."""
    load(PORTABLE)
    (tmp_path / "built").mkdir()
    (compiled,) = cache.iterdir()
    compiled.rename(tmp_path / "built" / compiled.name)
    monkeypatch.setattr(build, "BUILT", tmp_path / "built")
    compiler(tmp_path, monkeypatch, "exit 1")
    assert isinstance(load(PORTABLE), ctypes.CDLL)


def test_the_fastest_variant_that_can_be_compiled_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variant that the compiler does not know is passed over; where none is left, the reasons of all are given."""
    whole = build.load

    def refuse_all_but_portable(variant: build.Variant, **options: bool) -> ctypes.CDLL:
        if variant != PORTABLE:
            raise BackendUnavailable("unknown architecture")
        return whole(variant, **options)

    monkeypatch.setattr(build, "load", refuse_all_but_portable)
    assert load_fastest()[0] == PORTABLE

    def refuse(variant: build.Variant) -> ctypes.CDLL:
        raise BackendUnavailable(f"no {variant.name}")

    monkeypatch.setattr(build, "load", refuse)
    with pytest.raises(BackendUnavailable, match="portable: no portable"):
        load_fastest()


def test_a_variant_whose_instructions_are_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the instructions."""
    monkeypatch.setattr(build, "flags", lambda: frozenset({"avx2"}))
    with pytest.raises(BackendUnavailable, match=r"avx2: .*fma"):
        load(build.find_variant("avx2"))
    assert [variant.name for variant in VARIANTS if variant.runs_here] == ["portable"]


def test_processes_that_start_together_compile_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for the first: a compiler each would take the machine and the memory from all."""
    # It says that it runs, waits to be let go, and leaves a file; a library it need not be.
    script = f'echo x >> {tmp_path}/runs; read line < {tmp_path}/gate; while [ "$1" != -o ]; do shift; done; echo > "$2"'
    compiler(tmp_path, monkeypatch, script)
    os.mkfifo(tmp_path / "gate")
    code = (
        "from worker.model.backends.native import build; build.ctypes.CDLL = lambda path: print('loaded'); "
        "build.load(build.VARIANTS[-1])"
    )
    others = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    (tmp_path / "gate").write_text("go\n")
    assert [other.communicate()[0] for other in others] == ["loaded\n"] * 3
    assert (tmp_path / "runs").read_text() == "x\n"
    assert [path.suffix for path in cache.iterdir()] == [".so"]


def test_without_a_compiler_the_reason_says_what_is_missing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where compiled kernels were looked for."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BackendUnavailable, match="no C\\+\\+ compiler") as caught:
        load(PORTABLE)
    assert str(cache) in str(caught.value)


def test_the_message_of_the_compiler_is_in_the_error(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing half-done stays behind."""
    compiler(tmp_path, monkeypatch, "echo 'unknown flag' >&2; exit 1")
    with pytest.raises(BackendUnavailable, match="unknown flag"):
        load(PORTABLE)
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("cache")
def test_a_compiler_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the limit."""
    compiler(tmp_path, monkeypatch, "exec tail -f /dev/null")
    monkeypatch.setattr(build, "_TIMEOUT_S", 0.1)
    with pytest.raises(BackendUnavailable, match="did not finish"):
        load(PORTABLE)


def test_a_damaged_library_is_not_a_crash(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no library is a reason like any other."""
    load(PORTABLE)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / next(cache.iterdir()).name).write_bytes(b"not a library")
    monkeypatch.setenv("GIST_CACHE_DIR", str(tmp_path / "damaged"))
    with pytest.raises(BackendUnavailable, match="loaded"):
        load(PORTABLE)


def test_a_cache_that_cannot_be_written_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file stands where the directory should be."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GIST_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(BackendUnavailable, match="cannot be written to"):
        load(PORTABLE)


def test_the_cache_is_the_users_unless_said_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the usual variables."""
    monkeypatch.delenv("GIST_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "gist-stream"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert str(cache_directory()).startswith(os.path.expanduser("~"))  # noqa: PTH111  the shell's own idea of home
