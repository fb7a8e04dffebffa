"""The tasks that a model serves are read from its manifest alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from worker.model.served import read_tasks
from worker.records import Task
from worker.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from pathlib import Path


def test_the_heads_say_what_a_model_serves_besides_vectors(tmp_path: Path) -> None:
    """A directory without a manifest is an encoder, or has the head that its configuration names."""
    assert read_tasks(DEFAULT_MODEL) == frozenset(Task)
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    assert read_tasks(str(tmp_path)) == frozenset({Task.EMBED})
    (tmp_path / "config.json").write_text('{"architectures": ["BertForTokenClassification"]}')
    assert read_tasks(str(tmp_path)) == frozenset({Task.NER})
    (tmp_path / "manifest.json").write_text(json.dumps({"heads": [{"task": "ner"}, {"task": "ner"}]}))
    assert read_tasks(str(tmp_path)) == frozenset({Task.EMBED, Task.NER})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"heads": [1]}', '{"heads": [{"task": "sing"}]}', '{"heads": null}'])
def test_a_manifest_that_cannot_be_read_says_nothing(tmp_path: Path, content: str) -> None:
    """The tasks are unknown; loading the model reports the mistake in the manifest."""
    (tmp_path / "manifest.json").write_text(content)
    assert read_tasks(str(tmp_path)) is None


def test_nothing_is_fetched_and_torch_is_not_loaded() -> None:
    """The tasks are unknown for a model of the hub that is not in the cache, and for a missing model."""
    program = (
        "import sys; from worker.model.served import read_tasks; "
        "assert read_tasks('nobody/none@abc') is None and read_tasks('./nowhere') is None; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
