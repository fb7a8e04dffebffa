"""The benchmark of the encodings: every encoding goes through the codec, and the figures can be kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from worker.commands.bench import encodings as module
from worker.commands.bench.encodings import bench_encodings
from worker.errors import BadSettings
from worker.training.data.corpora import RatedSentence
from worker.wire.encode import EmbeddingEncoding

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take unit vectors of MiniLM's size for those of the sentences."""

    def stand_in(_model: str, texts: list[str]) -> Any:
        drawn = np.random.default_rng(0).normal(size=(len(texts), 384)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    monkeypatch.setattr(module, "rated_sentences", lambda _cache: [RatedSentence("s", f"text {n}", 0) for n in range(500)])
    monkeypatch.setattr(module, "_vectors", stand_in)


def test_every_encoding_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer bytes cost more, the exact ones cost nothing, and 8 bits cost little."""
    bench_encodings(model="m", count=300, cache=tmp_path, json_path=tmp_path / "losses.json")
    found = {it["encoding"]: it for it in json.loads((tmp_path / "losses.json").read_text())}
    assert list(found) == [it.value for it in EmbeddingEncoding]
    sizes, recalls = ([it[name] for it in found.values()] for name in ("value_bytes", "recall"))
    assert sizes == sorted(sizes, reverse=True)
    assert recalls[:2] == [1, 1]
    assert recalls[2] > recalls[3] > 0.9 > recalls[4]
    assert {it["num_vectors"] for it in found.values()} == {300}
    shown = capsys.readouterr().out
    assert all(name in shown for name in found)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(BadSettings, match="nowhere"):
        bench_encodings(model="m", count=200, cache=tmp_path, json_path=tmp_path / "nowhere" / "losses.json")
