"""Fuzz the functions of `targets` with libFuzzer, through atheris.

python -m tests.fuzz [--seconds N] [--directory D] [target]    fuzz each target (or one) for N seconds; exit code 1: a finding

The directory keeps the corpus of each target, and the inputs of findings as `crash-…`, `timeout-…` or `oom-…`.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

# Longer than any input takes, in seconds, and more than any may use, in MiB.
_TIMEOUT_S, _MAX_MIB = 20, 1_024
_MAX_INPUT_BYTES = 65_536


def fuzz(name: str, *, seconds: int, directory: Path) -> None:
    """Fuzz one target in this process, which exits at the end."""
    import atheris  # noqa: PLC0415  only this process needs it

    with atheris.instrument_imports(include=["worker", "schemas", "tests.fuzz.targets", "aiokafka.record"]):
        from tests.fuzz import targets  # noqa: PLC0415  instrumented as it is imported

    corpus = directory / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in targets.SEEDS[name]:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = (
        f"-max_total_time={seconds}",
        f"-timeout={_TIMEOUT_S}",
        f"-rss_limit_mb={_MAX_MIB}",
        f"-max_len={_MAX_INPUT_BYTES}",
        f"-artifact_prefix={directory}/",
        "-print_final_stats=1",
    )
    atheris.Setup([sys.argv[0], *options, str(corpus)], targets.TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Parse the arguments, run the fuzzer, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--directory", type=Path, default=Path(".data/fuzz"))
    chosen = parser.parse_args()
    if chosen.target:
        fuzz(chosen.target, seconds=chosen.seconds, directory=chosen.directory)
        return 0
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415  not before one is fuzzed

    codes = []
    for name in TARGETS:
        command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(chosen.seconds), "--directory", str(chosen.directory)]
        codes.append(subprocess.run(command, check=False).returncode)
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
