"""Give a PyTorch that was built for CUDA empty stand-ins for NVIDIA's libraries, so that it loads where there is no GPU.

python cuda_stand_ins.py SITE_PACKAGES      (needs gcc, nm and objdump; for an image that only ever computes on CPUs)

The package index has PyTorch for x86 with CUDA only: 1.8 GB of libraries that the loader insists on, and no CPU ever calls. A
stand-in has the same name and the same symbols, and each of its functions fails, as the real ones do where no driver is.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

# NVIDIA's own names; everything else that is not defined here is the C library's, or Python's.
_NVIDIA = re.compile(r"_*(cu|nccl|pnccl|nvJitLink|nvrtc|nvshmem)\w*$")
# CUDA's "no device". As a status of the other libraries it is a failure too.
_NO_DEVICE = 100


def main(site_packages: Path) -> None:
    """Write the stand-ins beside PyTorch's own libraries, and say how many."""
    folder = site_packages / "torch" / "lib"
    libraries = sorted(folder.glob("*.so"))
    owners, missing = _version_owners(libraries), _missing(libraries)
    symbols: dict[str, set[tuple[str, str]]] = {name: set() for name in missing}
    for name, version in _undefined(libraries):
        symbols[owners.get(version) or missing[0]].add((name, version))
    for name in missing:
        _compile(folder / name, symbols[name])
    sys.stdout.write(f"{len(missing)} stand-ins for NVIDIA's libraries, {sum(map(len, symbols.values()))} symbols\n")


def _run(*command: object) -> str:
    return subprocess.run([str(it) for it in command], check=True, capture_output=True, text=True).stdout  # noqa: S603


def _missing(libraries: list[Path]) -> list[str]:
    """Return the names of NVIDIA's libraries that these need and that are not among them."""
    needed = {name for it in libraries for name in re.findall(r"NEEDED\s+(\S+)", _run("objdump", "-p", it))}
    # The driver is asked for only when it is used, and comes from the host where there is one.
    return sorted(it for it in needed - {it.name for it in libraries} - {"libcuda.so.1"} if re.match(r"lib(cu|nccl|nv)", it))


def _version_owners(libraries: list[Path]) -> dict[str, str]:
    """Return, for each symbol version that is asked for, the library that it is asked of."""
    owners = {}
    for library in libraries:
        for owner, versions in re.findall(r"required from (\S+):\n((?:\s+0x.*\n)+)", _run("objdump", "-p", library)):
            owners |= dict.fromkeys(re.findall(r"\s(\S+)$", versions, re.MULTILINE), owner)
    return owners


def _undefined(libraries: list[Path]) -> set[tuple[str, str]]:
    """Return NVIDIA's symbols, each with its version or an empty string."""
    defined = {
        line.split()[-1].partition("@")[0] for it in libraries for line in _run("nm", "-D", "--defined-only", it).splitlines()
    }
    undefined = _symbols("--undefined-only", libraries)
    pairs = {(name, version) for name, _, version in (it.partition("@") for it in undefined)}
    return {(name, version) for name, version in pairs if _NVIDIA.match(name) and name not in defined}


def _symbols(which: str, libraries: list[Path]) -> set[str]:
    return {line.split()[-1] for it in libraries for line in _run("nm", "-D", which, it).splitlines()}


def _compile(target: Path, symbols: set[tuple[str, str]]) -> None:
    by_version = defaultdict(list)
    for name, version in sorted(symbols):
        by_version[version].append(name)
    source = "".join(f"int {name}(void) {{ return {_NO_DEVICE}; }}\n" for name, _ in sorted(symbols))
    versions = {version: " ".join(f"{it};" for it in names) for version, names in by_version.items() if version}
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
