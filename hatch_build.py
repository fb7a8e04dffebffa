"""Compile the kernels into the wheel: every variant for this architecture, so that an installation needs no compiler.

Hatchling runs this hook while it builds a wheel, also from an sdist. An editable installation has no compiled kernels: `make setup`
and the first start compile the kernels for this processor into the cache.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags


class KernelsHook(BuildHookInterface):  # type: ignore[type-arg]  # its parameter is the configuration of a builder, which is not used
    """Adds compiled libraries to a wheel, which becomes a wheel for this platform. Without a compiler the wheel stays pure."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name the files and the tag of the wheel in `build_data`."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from worker.model.backends.native import build  # noqa: PLC0415  the source tree is in the path now

        self._directory = tempfile.TemporaryDirectory()
        libraries, reasons = build.compile_variants(self._directory.name)
        for reason in reasons:
            self.app.display_warning(f"kernels are missing in the wheel: {reason}")
        if libraries:
            folder = build.BUILT.relative_to(self.root)
            build_data["force_include"] |= {str(library): str(folder / library.name) for library in libraries}
            build_data |= {"pure_python": False, "tag": f"py3-none-{find_platform()}"}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002  hatchling's interface
        """Delete the compiled files: the wheel has copies."""
        if version != "editable":
            self._directory.cleanup()


def find_platform() -> str:
    """Return the tag of this platform, with the version of its C library where that is known: older versions lack symbols."""
    tags = list(platform_tags())
    return next((tag for tag in tags if not tag.startswith("linux_")), tags[0])
