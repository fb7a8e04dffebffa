"""Weights that are truncated in place do not affect a loaded model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.conftest import MINILM
from worker.model.checkpoint.references import locate

# A read of a truncated part of a mapped file is a signal, so a process of its own computes.
_PROGRAM = """
import os, sys
import numpy as np
from worker.model.engine import Engine
from worker.records import Item, Partition, Record, Task, TokenizedItem

directory, dtype = sys.argv[1:]
engine = Engine.load(directory, device="cpu", dtype=dtype, backend="compiled")
item = Item(Record(Partition("t", 0), 0, None, b""), "1", "Words that no text before had.", frozenset({Task.EMBED}))
(tokens,) = engine.tokenize([item.text])
os.truncate(directory + "/model.safetensors", 4096)
(prediction,) = engine.infer([TokenizedItem(item, tokens)])
print(np.linalg.norm(prediction.embedding).round(3))
"""


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_a_loaded_model_computes_after_its_file_was_truncated(tmp_path: Path, dtype: str) -> None:
    """The embeddings of words that no text had before are in memory, too."""
    directory = Path(shutil.copytree(locate(MINILM).directory, tmp_path / "model"))
    command = [sys.executable, "-c", _PROGRAM, str(directory), dtype]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "1.0\n"), ran.stderr
