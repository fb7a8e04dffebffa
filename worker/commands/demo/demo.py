"""The demo: a Kafka broker, a worker process, real texts, and an audit of the outputs."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.live import Live

from worker.broker.tools.clients import follow, open_producer
from worker.commands.demo.observer import DemoObserver
from worker.commands.demo.report import format_progress, print_report
from worker.commands.terminal import Terminal
from worker.commands.variables import find_warnings
from worker.composition.broker import build_connection, create_topics, map_output_topics
from worker.settings import read
from worker.testbed.embedded_kafka import find_free_port
from worker.testbed.worker_process import ConsoleProcess, WorkerProcess, run_kafka
from worker.training.data.corpora import rated_sentences

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.broker.tools.clients import Producer
    from worker.settings import Settings

_HOME = Path(".demo")
_DATA = Path(".data")
_SILENCE_TIMEOUT_S = 120.0
# Single records after the backlog show the latency of an idle worker.
_NUM_SINGLE, _SINGLE_PER_S = 200, 40.0
# Records that must become dead letters, each for another reason.
_BAD: tuple[bytes, ...] = (
    b'{"text": "the JSON ends here',
    b"\xff\xfe not UTF-8",
    b'{"text": null}',
    b'{"text": "   "}',
    b'{"text": "which task is this?", "tasks": ["translate"]}',
    b"[" * 100_000,
)


def demo(
    *,
    is_kept: Annotated[bool, typer.Option("--keep", help="Leave Kafka and the worker running, for `produce` and `tail`.")] = False,
    count: Annotated[int, typer.Option(min=100, help="Number of messages to send.")] = 3000,
    kill_after: Annotated[
        int, typer.Option(min=0, help="Kill the worker after this number of results, and start it again. 0: never.")
    ] = 0,
) -> int:
    """Run a Kafka broker and a worker on this machine, send messages, and count the results.

    The exit code is 0 only if every message has its results or its dead letter.
    """
    _HOME.mkdir(exist_ok=True)
    (_HOME / "worker.log").unlink(missing_ok=True)
    console = Terminal()
    for warning in find_warnings():
        console.print(f"warning     {warning}")
    directory = Path(_HOME / "kafka").resolve() if is_kept else None
    with run_kafka(console.print, directory=directory, is_kept=is_kept) as (bootstrap_servers, pid):
        if is_kept and pid is not None:
            (_HOME / "kafka.pid").write_text(f"{pid}\n")
        run_id = f"{int(time.time())}"
        settings = read(
            {
                "bootstrap_servers": bootstrap_servers,
                "input_topic": f"texts-{run_id}",
                "group_id": f"demo-{run_id}",
                "tasks": "",
                "output_layout": "split",
            }
        )
        code = asyncio.run(_run(console, settings, is_kept=is_kept, count=count, kill_after=kill_after))
        console.print(describe_next_steps(settings, is_kept=is_kept), soft_wrap=True, markup=False)
    return code


def describe_next_steps(settings: Settings, *, is_kept: bool) -> str:
    """Return commands for the running demo, or the way to keep it running."""
    program = sys.argv[0] if Path(sys.argv[0]).name == "gist-stream" else "gist-stream"
    if not is_kept:
        return (
            f"\nnext: send your own texts (`{program} demo --keep` leaves Kafka and the worker running),\n"
            "use your own Kafka (GIST_BOOTSTRAP_SERVERS), or train your own heads (`gist-stream train`)"
        )
    return (
        "\nKafka, the worker and the console keep running. Try in this directory:\n\n"
        f"  export GIST_BOOTSTRAP_SERVERS={settings.bootstrap_servers} GIST_INPUT_TOPIC={settings.input_topic} "
        f"GIST_GROUP_ID={settings.group_id}\n"
        f"  {program} tail &\n"
        f"  echo 'Ada Lovelace loved London.' | {program} produce\n"
        f"  {program} lag\n\n"
        f"Stop them with: kill $(cat {_HOME}/*.pid); rm {_HOME}/*.pid"
    )


async def _run(console: Terminal, settings: Settings, *, is_kept: bool, count: int, kill_after: int) -> int:
    sentences = [sentence.text for sentence in await asyncio.to_thread(rated_sentences, _DATA)]
    console.print(f"texts       {len(sentences)} sentences of reviews, posts and newspapers")
    await create_topics(settings)
    chosen = {name: getattr(settings, name) for name in ("bootstrap_servers", "input_topic", "group_id", "output_layout")}
    chosen |= {"api": True, "api_port": find_free_port()}
    worker = WorkerProcess(chosen, _HOME / "worker.log", is_kept=is_kept)
    page: ConsoleProcess | None = None
    try:
        started_s = time.monotonic()
        await worker.wait_until_ready()
        console.print(f"worker      ready after {time.monotonic() - started_s:.1f} s, at {worker.url}/metrics")
        page = ConsoleProcess(chosen, worker.url, _HOME / "console.log", api_url=f"http://127.0.0.1:{chosen['api_port']}")
        console.print(
            f"console     {page.url}{'' if is_kept else ' until the demo ends (with --keep until you stop it)'}", soft_wrap=True
        )
        if is_kept:
            (_HOME / "worker.pid").write_text(f"{worker.process.pid}\n")
            (_HOME / "console.pid").write_text(f"{page.process.pid}\n")
        observer = await _send_texts(console, settings, worker, sentences, count=count, kill_after=kill_after)
    finally:
        worker.stop()
        if page is not None and not is_kept:
            page.stop()
    is_good = print_report(console, observer, num_bad=len(_BAD), may_repeat=bool(kill_after))
    return 0 if is_good else 1


async def _send_texts(
    console: Terminal, settings: Settings, worker: WorkerProcess, sentences: Sequence[str], *, count: int, kill_after: int
) -> DemoObserver:
    """Send the backlog, then single records, while an observer reads the outputs."""
    observer, stop = DemoObserver(settings), asyncio.Event()
    watching = asyncio.create_task(_watch(observer, settings, stop))
    try:
        with _live(console, observer) as refresh:
            async with open_producer(build_connection(settings)) as producer:
                for value in _build_backlog(sentences, count):
                    await _send(producer, observer, value)
                await producer.flush()
                await _wait_until_accounted(observer, refresh, worker, kill_after=kill_after)
                observer.end_backlog()
                for number in range(_NUM_SINGLE):
                    await asyncio.sleep(1 / _SINGLE_PER_S)
                    await _send(producer, observer, _build_request(sentences[-1 - number % len(sentences)], f"single-{number}"))
                await producer.flush()
                await _wait_until_accounted(observer, refresh, worker, kill_after=0)
    finally:
        stop.set()
        await watching
    return observer


async def _send(producer: Producer, observer: DemoObserver, value: bytes) -> None:
    number = observer.audit.num_produced
    await producer.send(observer.input_topic, value, key=b"%d" % (number % 64))
    observer.audit.num_produced += 1


def _build_backlog(sentences: Sequence[str], count: int) -> Iterator[bytes]:
    """Yield `count` good records with the bad ones spread among them."""
    every = max(1, count // (len(_BAD) + 1))
    for number in range(count):
        if number and number % every == 0 and number // every <= len(_BAD):
            yield _BAD[number // every - 1]
        # The stride visits each sentence once and alternates between the sections of the corpus.
        yield _build_request(sentences[number * 7919 % len(sentences)], f"message-{number}")


def _build_request(text: str, identity: str) -> bytes:
    return orjson.dumps({"id": identity, "text": text if text.strip() else "(blank)"})


async def _watch(observer: DemoObserver, settings: Settings, stop: asyncio.Event) -> None:
    topics = [settings.input_topic, *map_output_topics(settings).values()]
    async for records in follow(build_connection(settings), topics, from_beginning=True, stop=stop):
        for record in records:
            observer.note(record)


async def _wait_until_accounted(observer: DemoObserver, refresh: Live | None, worker: WorkerProcess, *, kill_after: int) -> None:
    """Return when every record is accounted for, or when nothing has arrived for long."""
    last_change_s, last_num, shown_s = time.monotonic(), -1, 0.0
    while observer.audit.num_missing and time.monotonic() - last_change_s < _SILENCE_TIMEOUT_S:
        await asyncio.sleep(0.1)
        if observer.audit.num_accounted != last_num:
            last_change_s, last_num = time.monotonic(), observer.audit.num_accounted
        if kill_after and last_num >= kill_after:
            worker.crash()
            observer.num_kills, kill_after = observer.num_kills + 1, 0
        if refresh is not None:
            refresh.update(format_progress(observer))
        elif time.monotonic() - shown_s > 2:  # noqa: PLR2004  seconds between lines without a terminal
            shown_s = time.monotonic()
            Terminal().print(format_progress(observer))


@contextlib.contextmanager
def _live(console: Terminal, observer: DemoObserver) -> Iterator[Live | None]:
    """Yield a line that is redrawn in a terminal; None elsewhere."""
    if not console.is_terminal:
        yield None
        return
    with Live(format_progress(observer), console=console, refresh_per_second=8) as live:
        yield live
