"""The audit reports its findings, and never treats a package without an answer as safe."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT = Path(__file__).parents[2] / ".ci" / "audit.py"
GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}, {"id": "CVE-2", "fix_versions": []}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.fixture(scope="module")
def judge() -> Callable[[str], tuple[int, list[str]]]:
    """Return the function that reads the report."""
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[str], tuple[int, list[str]]] = module.judge
    return found


@pytest.mark.parametrize(
    ("audited", "code", "said"),
    [
        ([GOOD], 0, "1 of 1 packages audited, 0 known vulnerabilities"),
        ([GOOD, BAD], 1, "bad 2: CVE-1, mended in 3\nbad 2: CVE-2, mended in no version yet\n2 of 2 packages audited, 2 known"),
        ([GOOD, UNKNOWN], 75, "NOT AUDITED: unknown"),
        ([BAD, UNKNOWN], 1, "NOT AUDITED: unknown"),
        ([], 75, "0 of 0"),
    ],
)
def test_the_exit_code_follows_from_what_was_looked_up(
    judge: Callable[[str], tuple[int, list[str]]], audited: list[dict[str, Any]], code: int, said: str
) -> None:
    """A vulnerability outranks a failed lookup, and a failed lookup outranks a clean report."""
    found, lines = judge(json.dumps({"dependencies": audited, "fixes": []}))
    assert found == code
    assert said in "\n".join(lines)


@pytest.mark.parametrize("report", ["", "Traceback", "[]", "{}"])
def test_no_report_is_no_audit(judge: Callable[[str], tuple[int, list[str]]], report: str) -> None:
    """The exit code is 75 for output that is not a report."""
    code, lines = judge(report)
    assert code == 75
    assert lines[0].startswith("NOT AUDITED")
