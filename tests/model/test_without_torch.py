"""A worker on a CPU serves without PyTorch."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.model

_SERVE = """
import sys
from pathlib import Path

import worker.commands.run.run, worker.composition.pipeline
from worker.composition.model import load_engine
from worker.records import Item, Partition, Record, TokenizedItem
from worker.settings import read

engine = load_engine(read({"device": "cpu"}))
engine.warm_up()
record = Record(Partition("texts", 0), 0, None, b"")
texts = ["Ada Lovelace moved to London.", "ok"]
items = [TokenizedItem(Item(record, "", text, engine.tasks), its) for text, its in zip(texts, engine.tokenize(texts))]
assert all(found.embedding is not None and not found.failures for found in engine.infer(items))
print(sorted({"torch", "transformers"} & set(sys.modules)), "torch" in Path("/proc/self/maps").read_text())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of the process")
def test_the_serving_process_has_no_torch_mapped() -> None:
    """Neither the modules nor the libraries of PyTorch, after passes through every head."""
    done = subprocess.run([sys.executable, "-c", _SERVE], capture_output=True, text=True, check=True, timeout=170)
    assert done.stdout.splitlines()[-1] == "[] False"
