"""Write requirements.lock, or check that it was made from today's pyproject.toml.

python .ci/lock.py                   resolve the versions again, with the sha256 of each file and without addresses
python .ci/lock.py --without-cuda    print the lock without torch and the packages of CUDA
python .ci/lock.py --check           exit with 1 if the dependencies have changed; needs no network
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
OPTIONS = (
    "--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet "
    "--extra embedded --extra bench --extra train --extra tracing --extra search --extra msk --extra avro --extra protobuf "
    "--group dev pyproject.toml"
)
_CUDA = re.compile(r"(nvidia-|cuda-|triton\b|torch==)")


def header() -> str:
    """Return the first line of a current lock: what it was made from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tables = [project["project"][name] for name in ("dependencies", "optional-dependencies", "requires-python")]
    digest = hashlib.sha256(json.dumps([*tables, project["dependency-groups"]], sort_keys=True).encode()).hexdigest()
    return f"# made by `make lock` from dependencies with sha256 {digest}\n"


def main(arguments: list[str]) -> int:
    """Lock or check; return the exit code."""
    if arguments == ["--without-cuda"]:
        entries = re.findall(r"^[a-z0-9].*\n(?:[ ].*\n)*", LOCK.read_text(), re.MULTILINE)
        sys.stdout.write("".join(entry for entry in entries if not _CUDA.match(entry)))
        return 0
    if arguments == ["--check"]:
        is_current = LOCK.read_text().startswith(header())
        if not is_current:
            sys.stderr.write("requirements.lock was made from other dependencies than pyproject.toml has: run make lock\n")
        return 0 if is_current else 1
    command = [sys.executable, "-P", "-m", "uv", "pip", "compile", *OPTIONS.split(), "--output-file", str(LOCK)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  fixed arguments
    LOCK.write_text(header() + LOCK.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
