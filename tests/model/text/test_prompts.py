"""Prompts before texts, and vectors of fewer dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.model.checkpoint.published import add_modules, publish, rewrite
from worker.errors import BadModel, BadSettings, InvalidRecord
from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.model.text.windows import Chunking, Windowing
from worker.records import Task
from worker.training.evaluation.evaluate import predictions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.text.windows import LongTexts

pytestmark = pytest.mark.model
TEXTS = ["Ada Lovelace moved to London.", "CAFÉ Müller", "word " * 200]
PROMPTS = {"query": "query: ", "passage": "passage: "}


@pytest.fixture
def embedder(tmp_path: Path) -> Path:
    """Give a published model with two prompts."""
    publish(add_modules(tmp_path / "mine"), "BertModel")
    rewrite(tmp_path / "mine" / "config_sentence_transformers.json", prompts=PROMPTS)
    return tmp_path / "mine"


def embed(directory: Path, texts: Sequence[str] = TEXTS, **options: Any) -> NDArray[np.float32]:
    """Return the vectors of some texts."""
    loaded = checkpoint.load(str(directory), **options)
    engine = Engine.from_checkpoint(loaded, device="cpu", backend="eager", dtype="float32")
    return np.stack([np.asarray(found.embedding) for found in predictions(engine, texts, Task.EMBED)])


@pytest.mark.parametrize("prompt", ["passage", "passage: "])
def test_a_prompt_by_name_or_as_a_literal_is_that_of_sentence_transformers(embedder: Path, prompt: str) -> None:
    """The vectors are those of the text behind the prompt."""
    module = pytest.importorskip("sentence_transformers", reason="the extra bench is not installed")
    expected = module.SentenceTransformer(str(embedder), device="cpu").encode(TEXTS, prompt_name="passage")
    found = embed(embedder, prompt=prompt)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - embed(embedder)).max() > 1e-3


def test_the_default_prompt_is_applied_unless_another_is_set(embedder: Path) -> None:
    """`none` is a text without a prompt."""
    plain, query = embed(embedder), embed(embedder, prompt="query")
    rewrite(embedder / "config_sentence_transformers.json", default_prompt_name="query")
    np.testing.assert_array_equal(embed(embedder), query)
    np.testing.assert_array_equal(embed(embedder, prompt="none"), plain)


def test_places_are_those_of_the_text_without_the_prompt(embedder: Path) -> None:
    """No token of the prompt belongs to a word."""
    plain, prompted = (checkpoint.load(str(embedder), prompt=prompt).tokenizer for prompt in ("", "query"))
    (expected,), (found,) = plain.encode(TEXTS[:1]), prompted.encode(TEXTS[:1])
    added = len(found) - len(expected)
    assert added == 2
    assert found.spans[1 + added :].tolist() == expected.spans[1:].tolist()
    assert found.words[1 : 1 + added].tolist() == [-1] * added
    assert (found.words >= 0).sum() == (expected.words >= 0).sum()


@pytest.mark.parametrize("long_texts", [Windowing(overlap_tokens=8, max_windows=9), Chunking(max_windows=9)])
def test_every_window_and_chunk_begins_with_the_prompt(embedder: Path, long_texts: LongTexts) -> None:
    """The vector of a window is that of its part of the text, and the places are those of the text of the record."""
    text = " ".join(f"In {year} Ada met Müller in London." for year in range(1800, 1830))
    engine = Engine.from_checkpoint(
        checkpoint.load(str(embedder), prompt="query", windowing=long_texts), device="cpu", backend="eager", dtype="float32"
    )
    (tokens,), (found,) = engine.tokenize([text]), predictions(engine, [text], Task.EMBED)
    spans = [(tokens.spans[window.start][0], tokens.spans[window.end - 1][1]) for window in tokens.windows]
    assert (tokens.num_prompt, tokens.truncated, spans[0][0], spans[-1][1]) == (2, False, 0, len(text))
    assert all(window.end - window.start <= 64 - 2 - 2 for window in tokens.windows)
    assert {text[start:end] for start, end in tokens.spans[tokens.words >= 0]} >= {"1800", "Müller", "London"}
    assert found.window_vectors is not None
    np.testing.assert_allclose(found.window_vectors, embed(embedder, [text[a:b] for a, b in spans], prompt="query"), atol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "changes", "error", "reason"),
    [
        ("pasage", {}, BadSettings, r"GIST_PROMPT: mine has no prompt 'pasage' \(it has passage, query\)"),
        ("pasage", {"prompts": None}, BadSettings, "it was published without prompts"),
        ("", {"default_prompt_name": "other"}, BadModel, "the default prompt 'other' is not among the published prompts"),
        ("long " * 80, {}, BadModel, "the prompt has 82 tokens, and a text with its prompt at most 64"),
    ],
)
def test_a_prompt_that_does_not_exist_is_refused(
    embedder: Path, prompt: str, changes: dict[str, Any], error: type[Exception], reason: str
) -> None:
    """The line names the prompts that there are."""
    rewrite(embedder / "config_sentence_transformers.json", **changes)
    with pytest.raises(error, match=reason):
        checkpoint.load(str(embedder), prompt=prompt)


def test_a_query_has_a_prompt_of_its_own(embedder: Path) -> None:
    """The prompt of the stream stays as it is. A prompt that the model does not have is the failure of the query."""
    engine = Engine.from_checkpoint(
        checkpoint.load(str(embedder), prompt="passage"), device="cpu", backend="eager", dtype="float32"
    )
    for prompt in ("query", "none", "mine: "):
        (own,) = checkpoint.load(str(embedder), prompt=prompt).tokenizer.encode(TEXTS[:1])
        (found,) = engine.tokenize(TEXTS[:1], prompt)
        assert found.ids.tolist() == own.ids.tolist()
        assert found.num_prompt == own.num_prompt
    passage = checkpoint.load(str(embedder), prompt="passage").tokenizer.encode(TEXTS[:1])[0]
    assert engine.tokenize(TEXTS[:1])[0].ids.tolist() == passage.ids.tolist()
    for prompt, reason in (("pasage", "has no prompt 'pasage'"), ("long " * 80, "the prompt has 82 tokens")):
        with pytest.raises(InvalidRecord, match=reason):
            engine.tokenize(TEXTS[:1], prompt)


def test_a_prompt_that_cannot_be_served_exactly_is_refused(embedder: Path) -> None:
    """Its tokens would not count for the mean, or a window would have no room for the text."""
    with pytest.raises(BadModel, match="windows of 62 tokens after the prompt overlap by at most half of what they hold, 30"):
        checkpoint.load(str(embedder), prompt="query", windowing=Windowing(overlap_tokens=31, max_windows=4))
    rewrite(embedder / "1_Pooling" / "config.json", include_prompt=False)
    with pytest.raises(BadModel, match="include_prompt"):
        checkpoint.load(str(embedder), prompt="query")
    assert checkpoint.load(str(embedder)).prompt == ""


@pytest.mark.parametrize(
    ("name", "prompts", "prompt", "is_warned"),
    [
        ("mine", PROMPTS, "", True),
        ("mine", PROMPTS, "none", False),
        ("mine", PROMPTS, "query", False),
        ("mine", {"query": "", "document": ""}, "", False),
        ("mine", {}, "", False),
        ("multilingual-e5-small", {}, "", True),
        ("multilingual-e5-small", {}, "passage: ", False),
        ("nomic-embed-text-v1.5", {}, "", True),
        ("bge-small-en-v1.5", {}, "", True),
        ("bge-m3", {}, "", False),
    ],
)
def test_a_model_that_needs_a_prompt_and_has_none_is_warned_of(
    tmp_path: Path, name: str, prompts: dict[str, str], prompt: str, *, is_warned: bool
) -> None:
    """By its published prompts, or by its name."""
    publish(add_modules(tmp_path / name), "BertModel")
    rewrite(tmp_path / name / "config_sentence_transformers.json", prompts=prompts)
    warnings = checkpoint.load(str(tmp_path / name), prompt=prompt).warnings
    assert bool(warnings) == is_warned
    assert not is_warned or "GIST_PROMPT" in warnings[0]


def test_cut_vectors_have_unit_length(embedder: Path) -> None:
    """The first dimensions of the whole vector, normalised again."""
    whole = embed(embedder)[:, :8]
    np.testing.assert_allclose(embed(embedder, dimensions=8), whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)


def test_a_cut_is_warned_of_unless_the_model_was_trained_for_it(embedder: Path) -> None:
    """The published files call such vectors Matryoshka vectors."""
    (warning,) = checkpoint.load(str(embedder), dimensions=8, prompt="none").warnings
    assert "GIST_EMBEDDING_DIMENSIONS cuts the vectors to 8 dimensions" in warning
    (embedder / "README.md").write_text("Trained with MatryoshkaLoss.")
    assert checkpoint.load(str(embedder), dimensions=8, prompt="none").warnings == ()
    with pytest.raises(BadSettings, match="GIST_EMBEDDING_DIMENSIONS is 33, and the vectors of the model have 32"):
        checkpoint.load(str(embedder), dimensions=33)
