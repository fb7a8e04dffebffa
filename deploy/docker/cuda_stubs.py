"""Build stubs of NVIDIA's libraries, so that a PyTorch that was built for CUDA loads on a machine without a GPU.

python cuda_stubs.py SITE_PACKAGES      (needs gcc, nm and objdump; for images that run on CPUs only)

The default package index has only the CUDA build of PyTorch for x86. Its loader requires 1.8 GB of libraries that no CPU calls.
A stub has the same name and the same symbols. Each of its functions fails, like the real ones without a driver.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

# Prefixes of NVIDIA's symbols. Other undefined symbols belong to the C library or to Python.
_NVIDIA = re.compile(r"_*(cu|nccl|pnccl|nvJitLink|nvrtc|nvshmem)\w*$")
# CUDA's status "no device". The other libraries treat the number as a failure, too.
_NO_DEVICE = 100


def main(site_packages: Path) -> None:
    """Write the stubs to the folder of PyTorch's libraries, and print their number."""
    folder = site_packages / "torch" / "lib"
    libraries = sorted(folder.glob("*.so"))
    owners, missing = _version_owners(libraries), _missing(libraries)
    symbols: dict[str, set[tuple[str, str]]] = {name: set() for name in missing}
    for name, version in _undefined(libraries):
        symbols[owners.get(version) or missing[0]].add((name, version))
    for name in missing:
        _compile(folder / name, symbols[name])
    sys.stdout.write(f"{len(missing)} stubs of NVIDIA's libraries, {sum(map(len, symbols.values()))} symbols\n")


def _run(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout  # noqa: S603


def _missing(libraries: list[Path]) -> list[str]:
    """Return the names of NVIDIA's libraries that these need and that are not installed."""
    needed = {name for library in libraries for name in re.findall(r"NEEDED\s+(\S+)", _run("objdump", "-p", library))}
    # PyTorch loads the driver on first use, from the host.
    absent = needed - {library.name for library in libraries} - {"libcuda.so.1"}
    return sorted(name for name in absent if re.match(r"lib(cu|nccl|nv)", name))


def _version_owners(libraries: list[Path]) -> dict[str, str]:
    """Return the library of each required symbol version."""
    owners = {}
    for library in libraries:
        for owner, versions in re.findall(r"required from (\S+):\n((?:\s+0x.*\n)+)", _run("objdump", "-p", library)):
            owners |= dict.fromkeys(re.findall(r"\s(\S+)$", versions, re.MULTILINE), owner)
    return owners


def _undefined(libraries: list[Path]) -> set[tuple[str, str]]:
    """Return NVIDIA's symbols, each with its version or an empty string."""
    defined = {
        line.split()[-1].partition("@")[0]
        for library in libraries
        for line in _run("nm", "-D", "--defined-only", library).splitlines()
    }
    undefined = _symbols("--undefined-only", libraries)
    pairs = {(name, version) for name, _, version in (symbol.partition("@") for symbol in undefined)}
    return {(name, version) for name, version in pairs if _NVIDIA.match(name) and name not in defined}


def _symbols(which: str, libraries: list[Path]) -> set[str]:
    return {line.split()[-1] for library in libraries for line in _run("nm", "-D", which, library).splitlines()}


def _compile(target: Path, symbols: set[tuple[str, str]]) -> None:
    by_version = defaultdict(list)
    for name, version in sorted(symbols):
        by_version[version].append(name)
    source = "".join(f"int {name}(void) {{ return {_NO_DEVICE}; }}\n" for name, _ in sorted(symbols))
    versions = {version: " ".join(f"{name};" for name in names) for version, names in by_version.items() if version}
    script = "".join(f"{version} {{ global: {names} }};\n" for version, names in versions.items())
    source_path, script_path = target.with_suffix(".c"), target.with_suffix(".map")
    source_path.write_text(source)
    script_path.write_text(script)
    flags = ["-shared", "-fPIC", "-nostdlib", "-w", "-fno-builtin", f"-Wl,-soname,{target.name}"]
    _run("gcc", *flags, *([f"-Wl,--version-script={script_path}"] if script else []), "-o", target, source_path)
    source_path.unlink()
    script_path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
