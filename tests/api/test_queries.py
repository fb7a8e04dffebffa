"""The texts of clients in a pipeline: they share batches with records, and cost the stream nothing else."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.endpoint import Endpoint, Gate, until
from tests.fakes import FakeModel
from tests.test_pipeline import World
from worker.api.queries import Overloaded, Unavailable
from worker.errors import BadModel, ConsumerBroken
from worker.observability.metrics import WorkerTelemetry
from worker.records import Item, Output, Task
from worker.rollout.joint_model import JointModel
from worker.rollout.plan import RolloutPlan
from worker.rollout.router import RolloutRouter, SingleModel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from worker.api.queries import Queries
    from worker.records import Prediction, TokenizedItem


async def compute(queries: Queries, *texts: str) -> list[Prediction]:
    """Return the prediction of each text."""
    items = [Item(queries.create_record(b"{}"), text, text, frozenset({Task.EMBED})) for text in texts]
    return [prediction for _, prediction in await queries.compute(items, queries.list_models()[0])]


async def test_texts_and_records_share_a_batch_and_only_records_are_published() -> None:
    world = World(max_query_texts=8, max_batch_records=8)
    passes, gate = list[list[str]](), Gate()

    def on_infer(items: Sequence[TokenizedItem]) -> None:
        passes.append([tokenized.item.text for tokenized in items])
        gate.wait(items)

    world.model.on_infer = on_infer
    async with world.running():
        first = asyncio.create_task(compute(world.pipeline.queries, "first"))
        await until(gate.is_reached.is_set)
        world.produce("record one", "record two")
        await until(lambda: len(world.pipeline._lanes) >= 2)
        second = asyncio.create_task(compute(world.pipeline.queries, "a query"))
        await until(lambda: len(world.pipeline._lanes) >= 3)
        gate.is_open.set()
        await world.committed()
        answers = await first + await second
    assert passes == [["first"], ["record one", "record two", "a query"]]
    assert [answer.embedding.tolist() for answer in answers if answer.embedding is not None] == [[5.0, 1.0], [7.0, 1.0]]
    assert world.kafka.offsets(Output.EMBEDDINGS) == [0, 1]
    assert len(world.kafka.published) == 6


async def test_texts_that_fail_never_end_the_worker() -> None:
    """One record that fails would end this worker."""
    world = World(max_query_texts=8, max_consecutive_failures=1)
    async with world.running():
        for _ in range(3):
            (answer,) = await compute(world.pipeline.queries, "poison")
            assert answer.failures[0].error == "RuntimeError"
        world.produce("fine")
        await world.committed()
    assert not world.dead_letters()


async def test_a_record_waits_for_one_group_of_texts_in_the_tokenizer() -> None:
    world = World(max_query_texts=8)
    tokenized, gate = list[str](), Gate()

    def on_tokenize(texts: Sequence[str]) -> None:
        gate.wait(texts)
        tokenized.extend(text.split()[0] for text in texts)

    world.model.on_tokenize = on_tokenize
    async with world.running():
        requests = [asyncio.create_task(compute(world.pipeline.queries, f"query{number} " + "a " * 300)) for number in range(4)]
        await until(gate.is_reached.is_set)
        world.produce("record " + "a " * 300)
        await until(world.pipeline._executor._tokenizer._work_queue.qsize)
        await asyncio.sleep(0)
        gate.is_open.set()
        await asyncio.gather(*requests)
        await world.committed()
    assert tokenized[:2] == ["query0", "record"]


async def test_a_long_prompt_is_tokenized_in_a_thread_and_short_texts_do_not_wait_for_it() -> None:
    """The prompt is tokenized with each text."""
    world = World(max_query_texts=32)
    queries, threads, gate = world.pipeline.queries, list[str](), Gate()

    def on_tokenize(texts: Sequence[str]) -> None:
        threads.append(threading.current_thread().name)
        if "short" not in texts:
            gate.wait(texts)

    world.model.on_tokenize = on_tokenize
    async with world.running():
        items = [Item(queries.create_record(b"{}"), "a", "a", frozenset({Task.EMBED})) for _ in range(16)]
        long = asyncio.create_task(queries.compute(items, world.model, "p: " * 1_000))
        await until(gate.is_reached.is_set)
        await compute(queries, "short")
        gate.is_open.set()
        await long
    assert threads[1] == threading.main_thread().name
    assert {name.partition("_")[0] for name in (threads[0], *threads[2:])} == {"tokenize"}


async def test_short_texts_that_arrive_together_are_tokenized_in_one_call() -> None:
    """A text that the tokenizer refuses fails alone, and a client that goes away delays no other client."""
    world = World(max_query_texts=32)
    calls: list[list[str]] = []

    def on_tokenize(texts: Sequence[str]) -> None:
        calls.append(list(texts))
        if "refused" in texts:
            raise ValueError(texts)

    world.model.on_tokenize = on_tokenize
    async with world.running():
        queries = world.pipeline.queries
        await asyncio.gather(*(compute(queries, text) for text in "abc"))
        assert calls == [["a", "b", "c"]]
        results = await asyncio.gather(*(compute(queries, text) for text in ("a", "refused")), return_exceptions=True)
        assert [type(result) for result in results] == [list, ValueError]
        gone, kept = (asyncio.create_task(compute(queries, text)) for text in "ab")
        await asyncio.sleep(0)
        gone.cancel()
        assert len(await kept) == 1
        await asyncio.gather(*(compute(queries, text) for text in "cd"))
        assert calls[-1] == ["c", "d"]
    assert queries.num_texts == 0


async def test_without_a_stream_each_pass_gets_a_share_of_the_texts_in_flight() -> None:
    model, gate, num_texts = FakeModel(max_passes=2), Gate(), list[int]()
    endpoint = Endpoint(models=SingleModel(model))
    async with endpoint.running():
        await asyncio.gather(*(compute(endpoint.queries, f"{number}") for number in range(32)))

        def on_infer(items: Sequence[TokenizedItem]) -> None:
            num_texts.append(len(items))
            gate.wait(items)

        model.on_infer = on_infer
        requests = [asyncio.create_task(compute(endpoint.queries, f"{number}")) for number in range(32)]
        await until(lambda: len(num_texts) == model.max_passes)
        gate.is_open.set()
        await asyncio.gather(*requests)
    assert num_texts == [16, 16]


async def test_requests_that_wait_for_the_tokenizer_are_unavailable_after_a_stop() -> None:
    world = World(max_query_texts=8)
    world.model.on_tokenize = (gate := Gate()).wait
    queries = world.pipeline.queries
    requests = [asyncio.create_task(compute(queries, "a " * 300)) for _ in range(3)]
    await until(gate.is_reached.is_set)
    for part in (queries, world.pipeline._executor):
        part.stop()
    gate.is_open.set()
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    assert queries.num_texts == 0


async def test_a_stop_logs_no_exception_of_further_texts() -> None:
    """The request raises the exception of its first text, and asyncio would log the exceptions that no caller reads."""
    world, logged = World(max_query_texts=8), list[dict[str, Any]]()
    world.model.on_infer = (gate := Gate()).wait
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: logged.append(context))
    async with world.running():
        request = asyncio.create_task(compute(world.pipeline.queries, "a", "b", "c"))
        await until(gate.is_reached.is_set)
        world.pipeline.queries.stop()
        with pytest.raises(Unavailable):
            await request
        gate.is_open.set()
    del request
    gc.collect()
    assert not logged


async def test_a_pipeline_without_queries_accepts_none_and_one_that_ended_is_unavailable() -> None:
    world = World()
    async with world.running():
        with pytest.raises(Overloaded):
            await compute(world.pipeline.queries, "a")
    with pytest.raises(Unavailable):
        await compute(world.pipeline.queries, "a")


async def test_a_consumer_that_breaks_during_the_last_queries_delays_no_shutdown() -> None:
    """The partitions that the group assigns again have no session, for whose end the shutdown would wait."""
    world = World(max_query_texts=8)
    world.model.on_infer = (gate := Gate()).wait
    async with world.running():
        answer = asyncio.create_task(compute(world.pipeline.queries, "last"))
        await until(gate.is_reached.is_set)
        world.pipeline.drain()
        await until(lambda: not world.pipeline._assignment.partitions)
        world.source.poll_error = ConsumerBroken("planted")
        await until(lambda: world.source.num_starts >= 2)
        gate.is_open.set()
        await answer


async def test_a_worker_that_drains_its_records_accepts_no_query() -> None:
    world = World(max_query_texts=8)
    world.delivery.acknowledges.clear()
    world.produce("not published yet")
    async with world.running():
        await until(lambda: world.pipeline._assignment.weight)
        world.pipeline.drain()
        await until(lambda: not world.pipeline._assignment.is_assigned)
        with pytest.raises(Unavailable):
            await compute(world.pipeline.queries, "a late query")
        world.delivery.acknowledges.set()
    assert world.kafka.offsets(Output.EMBEDDINGS) == [0]


async def test_during_a_rollout_the_newest_model_answers_and_a_name_selects_another(tmp_path: Path) -> None:
    first, second = FakeModel(), FakeModel()
    first.name, second.name = "first@1", "second@2"
    file = tmp_path / "rollout.toml"
    file.write_text('[[step]]\nmodel = "second"\nfrom = { 0 = 5 }\n')

    def load(reference: str) -> FakeModel:
        if reference != "second":
            raise BadModel(reference)
        return second

    router = RolloutRouter(file, RolloutPlan("first", "texts"), first, load=load, telemetry=WorkerTelemetry())
    await router.start()
    async with Endpoint(models=router).running() as client:

        async def ask(**body: str) -> tuple[str, str]:
            response = await client.post("/v1/embeddings", json={"input": "a", **body})
            return response.headers["gist-model"], (await response.json())["model"]

        assert await ask() == ("first@1", "first@1")
        assert await ask(model="second") == ("second@2", "second@2")
        world = World()
        world.produce(*"abcdef")
        for record in world.kafka.log[world.kafka.partitions[0]]:
            router.tokenize([Item(record, "", "a", frozenset(Task))])
        assert await ask() == ("second@2", "second@2")
        assert await ask(model="first@1") == ("first@1", "first@1")


async def test_several_encoders_answer_for_their_tasks() -> None:
    """Vectors need one pass of one encoder, whose name the answer has. All results of a text are joined."""
    first, second = FakeModel(), FakeModel()
    first.name, second.name = "first@1", "second@2"
    joint = JointModel([(first, frozenset({Task.EMBED})), (second, frozenset({Task.CLASSIFY, Task.NER}))], max_passes=1)
    async with Endpoint(models=SingleModel(joint)).running() as client:
        vectors = await client.post("/v1/embeddings", json={"input": ["abc", "d"], "model": "first"})
        assert (vectors.headers["gist-model"], first.passes, second.passes) == ("first@1", [2], [])
        listed = (await (await client.get("/v1/models")).json())["data"]
        assert [(model["id"], model["tasks"], model["is_default"], model["group"]) for model in listed] == [
            ("first@1", ["embed"], True, "first@1,second@2"),
            ("second@2", ["classify", "ner"], True, "first@1,second@2"),
        ]
        answer = await (await client.post("/v1/infer", json={"texts": ["abc"]})).json()
        assert [sorted(result) for result in answer["results"]] == [["embeddings", "entities", "labels", "tokens", "truncated"]]
        vector = await (await client.post("/v1/infer", json={"texts": ["abc"], "tasks": ["embed"]})).json()
        assert (answer["model"], vector["model"]) == ("first@1,second@2", "first@1")
        labels = await client.post("/predict", json={"inputs": "abc"})
        assert (await labels.json(), labels.headers["gist-model"]) == ([{"label": "a", "score": 1.0}], "second@2")


async def test_a_step_of_a_rollout_with_several_models_answers_for_its_tasks(tmp_path: Path) -> None:
    """The name of one model of the step selects the step; the first model of the rollout is alone and serves all tasks."""
    first, vectors, heads = FakeModel(), FakeModel(), FakeModel()
    first.name, vectors.name, heads.name = "first@1", "vectors@2", "heads@2"
    joint = JointModel([(vectors, frozenset({Task.EMBED})), (heads, frozenset({Task.CLASSIFY, Task.NER}))], max_passes=1)
    file = tmp_path / "rollout.toml"
    file.write_text('[[step]]\nmodel = "vectors,heads"\nfrom = { 0 = 5 }\n')
    router = RolloutRouter(file, RolloutPlan("first", "texts"), first, load=lambda _reference: joint, telemetry=WorkerTelemetry())
    await router.start()
    async with Endpoint(models=router).running() as client:

        async def ask(model: str, *tasks: str) -> str:
            response = await client.post("/v1/infer", json={"texts": ["a"], "model": model, "tasks": list(tasks)})
            return str((await response.json())["model"])

        assert await ask("default", "embed", "classify", "ner") == "first@1"
        assert await ask("heads", "embed", "classify", "ner") == "vectors@2,heads@2"
        assert await ask("vectors@2", "embed") == "vectors@2"
        assert (first.passes, vectors.passes, heads.passes) == ([1], [1, 1], [1])
