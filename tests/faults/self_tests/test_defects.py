"""Each planted defect still fits the source, so that `make test-faults` can use it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.faults.test_defects import DEFECTS, insert

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_fits_the_source(name: str) -> None:
    """Each text to replace is in its file exactly once, and the result is valid Python."""
    source = (ROOT / DEFECTS[name].file).read_text()
    changed = insert(DEFECTS[name], source)
    assert changed != source
    ast.parse(changed)
