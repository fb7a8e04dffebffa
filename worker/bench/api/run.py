"""Measures the HTTP endpoint for queries: a lone query, many clients next to a baseline, and a stream with and without queries."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np

from worker.bench.api.clients import send_in_turn, send_regularly
from worker.bench.frame.machine import describe_machine
from worker.bench.frame.process import Candidate
from worker.bench.frame.runs import Runs
from worker.bench.stream import phases
from worker.bench.stream.run import BASELINE_MODEL
from worker.bench.stream.tally import steady_per_s
from worker.bench.stream.workers import run_workers
from worker.host import count_cores
from worker.testbed.embedded_kafka import find_free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.bench.frame.context import BenchContext

#: The rows.
BARE, IN_PROCESS, OVER_HTTP = "bare pass", "query, in process", "query, over HTTP"
OURS, BASELINE = "gist-stream serve", "baseline, aiohttp and SentenceTransformers"
ALONE, WITH_QUERIES = "stream alone", "stream with queries"
NUM_CLIENTS, QUERIES_PER_S = 32, 20
_TIMEOUT_S, _MAX_CHARS, _SHARE = 300.0, 100, 0.5
# The settings of the endpoint that decide how a client reaches it.
_ACCESS = {"api_host": "127.0.0.1", "api_tokens_file": "", "api_tls_cert_file": "", "api_tls_key_file": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiPlan:
    """The amount of work."""

    #: The role of the process with the endpoint, for `Candidate`.
    endpoint: str
    num_partitions: int
    num_backlog: int
    num_rounds: int
    #: The lone queries of a round.
    num_lone: int = 100
    #: The time of each server with all clients in a round, and of each load of the stream.
    clients_s: float = 5.0
    phase_s: float

    def shorten(self) -> ApiPlan:
        """Return the plan for a quick run, which ends within two minutes."""
        return replace(self, num_backlog=min(self.num_backlog, 3_000), num_rounds=1, clients_s=2.0, phase_s=min(self.phase_s, 4.0))


@dataclass(slots=True)
class ApiResults:
    """All results of one run."""

    machine: dict[str, Any]
    #: The rows are `BARE`, `IN_PROCESS` and `OVER_HTTP`.
    lone: Runs = field(default_factory=Runs)
    #: The rows are `OURS` and `BASELINE`.
    clients: Runs = field(default_factory=Runs)
    #: The rows are `ALONE` and `WITH_QUERIES`.
    stream: Runs = field(default_factory=Runs)
    #: Records of the stream without all their outputs.
    lost: int = 0
    notes: list[str] = field(default_factory=list)


async def run(plan: ApiPlan, context: BenchContext) -> ApiResults:
    """Measure the endpoint alone, then next to a stream; however this ends, no process remains."""
    results = ApiResults(describe_machine() | {"corpus_texts": len(context.texts)})
    texts = [text for text in context.texts if text.strip() and len(text) <= _MAX_CHARS]
    await _measure_servers(plan, context, texts, results)
    await _measure_stream(plan, context, texts, results)
    results.notes.append(
        f"{plan.num_rounds} rounds, each with {plan.num_lone} lone queries, {plan.clients_s:g} s for each server and "
        f"{plan.phase_s:g} s for each load of the stream; texts of queries have at most {_MAX_CHARS} characters"
    )
    results.notes.append("clients, servers, sender, broker and worker share the cores; both servers return JSON numbers")
    return results


async def _measure_servers(plan: ApiPlan, context: BenchContext, texts: Sequence[str], results: ApiResults) -> None:
    """Send lone queries to the endpoint, and many to the endpoint and to the baseline in turn."""
    threads, device = count_cores(), context.settings["device"]
    settings = {**context.settings, **_ACCESS, "api_port": 0}
    options = {"model": BASELINE_MODEL, "device": device, "threads": threads}
    context.say("servers     starting the endpoint and the baseline …")
    with (
        Candidate(plan.endpoint, settings, threads=threads, timeout_s=_TIMEOUT_S) as endpoint,
        Candidate("worker.bench.api.baseline:QueryBaseline", options, threads=threads, timeout_s=_TIMEOUT_S) as baseline,
    ):
        about = {name: (await asyncio.to_thread(server.ready))[0] for name, server in ((OURS, endpoint), (BASELINE, baseline))}
        results.notes.append(f"the baseline is {about[BASELINE]['dtype']}, the faster of fp32 and bf16, batches of at most 32")
        for answer in about.values():
            # The warm-up does not count.
            await send_in_turn(answer["port"], texts, num_clients=NUM_CLIENTS, seconds=1.0)
        for _ in range(plan.num_rounds):
            for name, milliseconds in (await _send_alone(about[OURS]["port"], texts[: plan.num_lone], endpoint)).items():
                results.lone.add(name, ms=milliseconds)
            for name, answer in about.items():
                figures = await send_in_turn(answer["port"], texts, num_clients=NUM_CLIENTS, seconds=plan.clients_s)
                results.clients.add(name, **figures)
                context.say(f"            {name}: {figures['queries_per_s']:.0f} queries/s")


async def _send_alone(port: int, texts: Sequence[str], endpoint: Candidate) -> dict[str, float]:
    """Send each text after a bare pass of the same text; return the medians in milliseconds by row."""
    bare_ms, over_http_ms, answered_ms = list[float](), list[float](), list[float]()
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        for text in texts:
            answer = await endpoint.ask_async("compute", text=text)
            bare_ms.append(answer["ms"])
            answered_ms.append(answer["answered_ms"])
            body, began_s = {"input": text, "model": "default", "encoding_format": "base64"}, time.perf_counter()
            async with session.post(f"http://127.0.0.1:{port}/v1/embeddings", json=body) as response:
                await response.read()
            over_http_ms.append((time.perf_counter() - began_s) * 1000)
    answered_ms.append((await endpoint.ask_async("compute", text=texts[0]))["answered_ms"])
    rows = {BARE: bare_ms, IN_PROCESS: np.diff(answered_ms), OVER_HTTP: over_http_ms}
    return {name: float(np.median(np.asarray(values))) for name, values in rows.items()}


async def _measure_stream(plan: ApiPlan, context: BenchContext, texts: Sequence[str], results: ApiResults) -> None:
    """Measure the backlog rate of a worker, then half of that load with and without queries in turn."""
    topic = phases.Topics(context.connection, f"bench-api-{int(time.time())}", num_partitions=plan.num_partitions)
    await topic.create()
    values = phases.build_requests(context, plan.num_backlog)
    port = find_free_port()
    settings = {"delivery": "at_least_once", **_ACCESS, "api": True, "api_port": port}
    async with contextlib.AsyncExitStack() as stack:
        async with phases.backlog(topic, values):
            workers, _ = await stack.enter_async_context(run_workers(context, topic, settings, num_workers=1))
        await phases.wait_until_published(topic, workers)
        per_s = steady_per_s([answer.done_ms for answer in await topic.read_all()])
        context.say(f"stream      a backlog at {per_s:.0f} records/s")
        for number in range(plan.num_rounds):
            # In this order, a machine that slows down during a round slows both rows alike.
            for name in (ALONE, WITH_QUERIES, WITH_QUERIES, ALONE):
                async with send_regularly(port, texts, rate_per_s=QUERIES_PER_S * (name == WITH_QUERIES)):
                    load = await phases.offer_load(
                        topic, workers, values, rate_per_s=max(1.0, per_s * _SHARE), phase_s=plan.phase_s, seed=number
                    )
                results.stream.add(name, **load)
                context.say(f"            {name}: p50 {load['p50_ms']:.0f} ms, p99 {load['p99_ms']:.0f} ms")
    results.lost = topic.tally.audit.num_missing
