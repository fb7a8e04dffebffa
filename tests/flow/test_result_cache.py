"""The cache of results: each text is computed once, and the cache stays within its bytes."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeModel
from tests.makers import tokenized
from worker.batches import Batch
from worker.flow.model_executor import ModelExecutor
from worker.flow.result_cache import ResultCache
from worker.records import Failure, Prediction, Stage, Task, TokenizedItem
from worker.rollout.router import SingleModel

MIB = 2**20


def item(text: str, *, model: str = "m@1", tasks: frozenset[Task] = frozenset(Task)) -> TokenizedItem:
    """Return an item with a text, a model and tasks."""
    made = tokenized(1, 3)
    return replace(made, item=replace(made.item, text=text, tasks=tasks), tokens=replace(made.tokens, model=model))


def prediction(number: float) -> Prediction:
    """Return a prediction that a test recognises."""
    return Prediction(embedding=np.full(4, number, dtype=np.float32))


def test_a_repeated_text_is_computed_once() -> None:
    """Duplicates of a batch share a result, and the next batch finds it."""
    counts: Counter[str] = Counter()
    cache = ResultCache(MIB, lambda origin, number: counts.update({origin: number}))
    plan = cache.find([item("a"), item("b"), item("a")])
    assert [found.item.text for found in plan.missing.values()] == ["a", "b"]
    a, b = prediction(1), prediction(2)
    assert cache.complete(plan, [a, b]) == [a, b, a]
    plan = cache.find([item("b"), item("c")])
    assert [found.item.text for found in plan.missing.values()] == ["c"]
    assert cache.complete(plan, [prediction(3)])[0] is b
    assert counts == {"miss": 3, "duplicate": 1, "hit": 1}


@pytest.mark.parametrize("other", [item("a", model="m@2"), item("a", tasks=frozenset({Task.NER})), item("A")])
def test_another_model_task_or_text_is_another_entry(other: TokenizedItem) -> None:
    """Only the same text with the same model and tasks is a hit."""
    cache = ResultCache(MIB, lambda _origin, _number: None)
    cache.complete(cache.find([item("a")]), [prediction(1)])
    assert len(cache.find([other]).missing) == 1


def test_another_prompt_is_another_entry() -> None:
    """A query with a prompt of its own does not get the result of a passage."""
    cache = ResultCache(MIB, lambda _origin, _number: None)
    cache.complete(cache.find([item("a")]), [prediction(1)])
    query = item("a")
    assert cache.find([replace(query, tokens=replace(query.tokens, prompt="query: "))]).missing


def test_the_prompts_of_queries_count_towards_the_bound() -> None:
    """A client chooses its prompt."""
    cache = ResultCache(MIB, lambda _origin, _number: None)
    for number in range(1_000):
        query = item("a")
        query = replace(query, tokens=replace(query.tokens, prompt=f"{number}: ".rjust(4_096)))
        cache.complete(cache.find([query]), [prediction(1)])
    assert len(cache._entries) * 4_096 < MIB


def test_a_failure_is_not_kept() -> None:
    """All items of the batch with this text get the failure; the next batch computes the text again."""
    cache = ResultCache(MIB, lambda _origin, _number: None)
    failed = Prediction(failures=(Failure(Stage.INFER, "E", "no"),))
    assert cache.complete(cache.find([item("a"), item("a")]), [failed]) == [failed, failed]
    assert len(cache.find([item("a")]).missing) == 1


def test_a_result_that_leaves_the_cache_during_a_pass_is_still_used() -> None:
    """The plan holds the results of its batch."""
    cache = ResultCache(1_200, lambda _origin, _number: None)
    kept = prediction(1)
    cache.complete(cache.find([item("a")]), [kept])
    plan = cache.find([item("a"), item("b")])
    cache.complete(cache.find([item("c")]), [prediction(3)])
    assert cache.complete(plan, [prediction(2)])[0] is kept


@given(texts=st.lists(st.text(max_size=300), max_size=60), max_bytes=st.integers(0, 5_000))
def test_the_cache_stays_within_its_bytes(texts: list[str], max_bytes: int) -> None:
    """Each result is that of its text, and the estimate of the bytes never exceeds the limit."""
    cache = ResultCache(max_bytes, lambda _origin, _number: None)
    for start in range(0, len(texts), 7):
        batch = texts[start : start + 7]
        plan = cache.find([item(text) for text in batch])
        results = cache.complete(plan, [prediction(len(found.item.text)) for found in plan.missing.values()])
        assert [result.embedding[0] for result in results if result.embedding is not None] == [len(text) for text in batch]
        assert cache.num_bytes <= max_bytes


def test_the_model_computes_only_what_is_missing() -> None:
    """The executor passes each text to the model once, in one pass for each batch that has something new."""
    model = FakeModel()
    sizes: list[int] = []
    executor = ModelExecutor(
        SingleModel(model),
        yield_to_live=lambda: None,
        note_pass=lambda batch, _seconds: sizes.append(len(batch.items)),
        max_failures=10,
        cache=ResultCache(MIB, lambda _origin, _number: None),
    )

    async def run(*texts: str) -> list[Prediction]:
        items = [replace(item(text), tokens=model._tokens(text)) for text in texts]
        return await executor.run_batch(Batch(tuple(items)))

    try:
        first = asyncio.run(run("a", "b", "a"))
        second = asyncio.run(run("b", "a"))
    finally:
        executor.stop()
    assert sizes == [2]
    assert [first[1], first[0]] == second


def test_an_entry_keeps_its_own_vector_only() -> None:
    """The vectors of a batch are rows of one array, which an entry would keep in memory as a whole."""
    cache, batch = ResultCache(MIB, lambda _origin, _number: None), np.ones((500, 4), dtype=np.float32)
    cache.complete(cache.find([item("a")]), [Prediction(embedding=batch[0])])
    (kept,) = cache.complete(cache.find([item("a")]), [])
    assert kept.embedding is not None
    assert kept.embedding.base is None
    assert kept.embedding.tolist() == [1, 1, 1, 1]
