"""The command `bench encodings`: every encoding goes through the codec of the worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from typer.testing import CliRunner

from worker.cli import app
from worker.commands.bench import encodings
from worker.wire.encode import EmbeddingEncoding

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_every_encoding_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller encodings have a lower recall; exact encodings lose nothing, and 8 bits lose little."""

    def embed(_model: str, texts: list[str]) -> Any:
        drawn = np.random.default_rng(0).normal(size=(len(texts), 384)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    monkeypatch.setattr(encodings, "read_texts", lambda _cache, count: [f"text {number}" for number in range(count)])
    monkeypatch.setattr(encodings, "embed", embed)
    path = tmp_path / "losses.json"
    shown = CliRunner().invoke(app, ["bench", "encodings", "--count", "300", "--output", str(path)])
    assert shown.exit_code == 0, shown.output
    (losses,) = json.loads(path.read_bytes())["tables"].values()
    assert list(losses) == [encoding.value for encoding in EmbeddingEncoding]
    sizes, recalls = ([loss[name][0] for loss in losses.values()] for name in ("value_bytes", "recall"))
    assert sizes == sorted(sizes, reverse=True)
    assert recalls[:2] == [1, 1]
    assert recalls[2] > recalls[3] > 0.9 > recalls[4]
    assert "300 sentences" in shown.stdout
    assert all(name in shown.stdout for name in losses)
