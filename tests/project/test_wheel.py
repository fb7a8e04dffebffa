"""A wheel has the compiled kernels of every variant, and the tag of its platform."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.bridge.app import Application
from hatchling.builders.wheel import WheelBuilder

from hatch_build import KernelsHook
from worker.model.backends.native import build

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]


class App(Application):
    """Keeps the warnings of a build."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def display_warning(self, message: str = "", **_options: Any) -> None:
        """Keep a warning."""
        self.warnings.append(message)


def run_hook(app: Application, version: str = "standard") -> dict[str, Any]:
    """Return what the hook adds to a wheel."""
    build_data: dict[str, Any] = {"force_include": {}, "pure_python": True}
    hook: KernelsHook = KernelsHook(str(ROOT), {}, None, None, "", "wheel", app)  # type: ignore[arg-type]  # of the builder, unused
    hook.initialize(version, build_data)
    hook.finalize(version, build_data, "")
    return build_data


def test_compiled_variants_enter_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each library is where the loader looks first. A variant that the compiler does not know is a warning."""
    variants = build.VARIANTS[-2:]

    def compile_library(path: Path, flags: tuple[str, ...]) -> None:
        if "-march=haswell" in flags:
            raise build.BackendUnavailable("unknown architecture")
        path.write_bytes(b"")

    monkeypatch.setattr(build, "VARIANTS", variants)
    monkeypatch.setattr(build, "compile_library", compile_library)
    app = App()
    added = run_hook(app)
    assert [ROOT / path for path in added["force_include"].values()] == [build.BUILT / build.library_name(variants[-1])]
    assert not added["pure_python"]
    assert added["tag"].startswith("py3-none-")
    assert added["tag"] != "py3-none-any"
    assert app.warnings == ["kernels are missing in the wheel: avx2: unknown architecture"]


def test_the_page_of_the_console_enters_the_wheel() -> None:
    """Every file of the page is part of the package."""
    included = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    files = {str(file.relative_to(ROOT)) for file in (ROOT / "worker" / "console" / "static").iterdir()}
    assert len(files) > 10
    assert files <= included


def test_a_wheel_is_built_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel stays pure, and the first start compiles the kernels."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    app = App()
    assert run_hook(app) == {"force_include": {}, "pure_python": True}
    assert len(app.warnings) == len(build.VARIANTS)


def test_an_editable_installation_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the sources gets no compiled files."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    app = App()
    assert run_hook(app, "editable") == {"force_include": {}, "pure_python": True}
    assert not app.warnings
