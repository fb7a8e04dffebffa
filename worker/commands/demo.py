"""Everything on this machine: a real Kafka, a worker as a process of its own, real messages, and the account of what came out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from rich.console import Console
from rich.live import Live

from worker.broker.clients import following, producing
from worker.broker.embedded import EmbeddedKafka
from worker.commands.observer import Observer
from worker.commands.report import progress_line, report
from worker.commands.run import connection_of, create_topics, topics_of
from worker.errors import BadModel
from worker.settings import read
from worker.training.corpora import rated_sentences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from worker.broker.clients import Producer
    from worker.settings import Settings

_HOME = Path(".demo")
_DATA = Path(".data")
_READY_TIMEOUT_S = 120.0
_SILENCE_TIMEOUT_S = 120.0
# After the backlog, so many single messages at this rate show what a message waits for when there is none.
_NUM_SINGLE, _SINGLE_PER_S = 200, 40.0
# What must end in the dead-letter topic, each with its own reason.
_BAD: tuple[bytes, ...] = (
    b'{"text": "the JSON ends here',
    b"\xff\xfe not UTF-8",
    b'{"text": null}',
    b'{"text": "   "}',
    b'{"text": "which task is this?", "tasks": ["translate"]}',
    b"[" * 100_000,
)


class _Worker:
    """A worker process and its log."""

    def __init__(self, settings: Settings, *, is_kept: bool) -> None:
        self._environment = os.environ | {
            "GIST_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "GIST_INPUT_TOPIC": settings.input_topic,
            "GIST_GROUP_ID": settings.group_id,
            "GIST_HTTP_PORT": str(_free_port()),
            "GIST_LOG_FORMAT": "json",
            "GIST_SESSION_TIMEOUT_MS": "10000",
        }
        self._is_kept = is_kept
        self.process = self._start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._environment['GIST_HTTP_PORT']}"

    async def ready(self) -> None:
        """Return once it is ready; raises `BadModel` with the end of its log where it is not."""
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not await asyncio.to_thread(_is_ready, self.url):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise BadModel(f"the worker did not start: {(_HOME / 'worker.log').read_text()[-1000:]}")
            await asyncio.sleep(0.1)

    def crash(self) -> None:
        """Kill it as nobody can prevent, and start another."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = self._start()

    def stop(self) -> None:
        """Let it drain, unless it is to stay."""
        if not self._is_kept and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def _start(self) -> subprocess.Popen[bytes]:
        with (_HOME / "worker.log").open("ab") as log:
            command = [sys.executable, "-m", "worker", "run"]
            return subprocess.Popen(  # noqa: S603
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=self._is_kept
            )


def demo(*, is_kept: bool, count: int, kill_after: int) -> int:
    """Run the demo; return 0 only if every message is accounted for."""
    _HOME.mkdir(exist_ok=True)
    (_HOME / "worker.log").unlink(missing_ok=True)
    console = Console(highlight=False)
    with _kafka(console, is_kept=is_kept) as bootstrap_servers:
        run_id = f"{int(time.time())}"
        settings = read(
            {"bootstrap_servers": bootstrap_servers, "input_topic": f"texts-{run_id}", "group_id": f"demo-{run_id}", "tasks": ""}
        )
        code = asyncio.run(_demo(console, settings, is_kept=is_kept, count=count, kill_after=kill_after))
        if is_kept:
            console.print(
                f"\nKafka and the worker go on. Try, in this folder:\n\n  export GIST_BOOTSTRAP_SERVERS={bootstrap_servers} "
                f"GIST_INPUT_TOPIC={settings.input_topic}\n  .venv/bin/gist-stream tail &\n"
                "  echo 'Ada Lovelace loved London.' | .venv/bin/gist-stream produce\n\nand to end them:  make stop",
                soft_wrap=True,
            )
    return code


@contextlib.contextmanager
def _kafka(console: Console, *, is_kept: bool) -> Iterator[str]:
    """Give the address of the brokers that the environment names, or of an embedded one."""
    if given := os.environ.get("GIST_BOOTSTRAP_SERVERS"):
        console.print(f"Kafka       {given}, as GIST_BOOTSTRAP_SERVERS says")
        yield given
        return
    began_s = time.monotonic()
    console.print("Kafka       starting a real one on this machine (the first time, 57 MB of it are fetched) …")
    directory = Path(_HOME / "kafka").resolve() if is_kept else None
    kafka = EmbeddedKafka(directory=directory, is_kept=is_kept).start()
    try:
        console.print(f"            ready at {kafka.bootstrap_servers} after {time.monotonic() - began_s:.1f} s")
        if is_kept:
            (_HOME / "kafka.pid").write_text(str(kafka.pid))
        yield kafka.bootstrap_servers
    finally:
        if not is_kept:
            kafka.stop()


async def _demo(console: Console, settings: Settings, *, is_kept: bool, count: int, kill_after: int) -> int:
    sentences = [it.text for it in await asyncio.to_thread(rated_sentences, _DATA)]
    console.print(f"texts       {len(sentences)} sentences of reviews, posts and newspapers")
    await create_topics(settings)
    worker = _Worker(settings, is_kept=is_kept)
    try:
        began_s = time.monotonic()
        await worker.ready()
        console.print(f"worker      ready after {time.monotonic() - began_s:.1f} s, at {worker.url}/metrics")
        if is_kept:
            (_HOME / "worker.pid").write_text(str(worker.process.pid))
        observer = await _play(console, settings, worker, sentences, count=count, kill_after=kill_after)
    finally:
        worker.stop()
    is_good = report(console, observer, num_bad=len(_BAD), may_repeat=bool(kill_after))
    return 0 if is_good else 1


async def _play(
    console: Console, settings: Settings, worker: _Worker, sentences: Sequence[str], *, count: int, kill_after: int
) -> Observer:
    """Send the backlog, then single messages, and watch what comes out."""
    observer, stop = Observer(settings), asyncio.Event()
    watching = asyncio.create_task(_watch(observer, settings, stop))
    try:
        with _live(console, observer) as refresh:
            async with producing(connection_of(settings)) as producer:
                async for value in _backlog(sentences, count):
                    await _send(producer, observer, value)
                await producer.flush()
                await _accounted(observer, refresh, worker, kill_after=kill_after)
                observer.end_backlog()
                for number in range(_NUM_SINGLE):
                    await asyncio.sleep(1 / _SINGLE_PER_S)
                    await _send(producer, observer, _request(sentences[-1 - number % len(sentences)], f"single-{number}"))
                await producer.flush()
                await _accounted(observer, refresh, worker, kill_after=0)
    finally:
        stop.set()
        await watching
    return observer


async def _send(producer: Producer, observer: Observer, value: bytes) -> None:
    number = observer.account.num_produced
    await producer.send(observer.input_topic, value, key=b"%d" % (number % 64))
    observer.account.num_produced += 1


async def _backlog(sentences: Sequence[str], count: int) -> AsyncIterator[bytes]:
    """Yield `count` good messages with the bad ones spread among them; remembers nothing."""
    every = max(1, count // (len(_BAD) + 1))
    for number in range(count):
        if number and number % every == 0 and number // every <= len(_BAD):
            yield _BAD[number // every - 1]
        # Steps through all sections of the corpus, with a stride that meets every sentence once.
        yield _request(sentences[number * 7919 % len(sentences)], f"message-{number}")


def _request(text: str, identity: str) -> bytes:
    return orjson.dumps({"id": identity, "text": text if text.strip() else "(blank)"})


async def _watch(observer: Observer, settings: Settings, stop: asyncio.Event) -> None:
    topics = [settings.input_topic, *topics_of(settings).values()]
    async for records in following(connection_of(settings), topics, from_beginning=True, stop=stop):
        for record in records:
            observer.note(record)


async def _accounted(observer: Observer, refresh: Live | None, worker: _Worker, *, kill_after: int) -> None:
    """Return once everything is accounted for, or once nothing has come for long."""
    last_change_s, last_num, shown_s = time.monotonic(), -1, 0.0
    while observer.account.num_missing and time.monotonic() - last_change_s < _SILENCE_TIMEOUT_S:
        await asyncio.sleep(0.1)
        if observer.account.num_accounted != last_num:
            last_change_s, last_num = time.monotonic(), observer.account.num_accounted
        if kill_after and last_num >= kill_after:
            worker.crash()
            observer.num_kills, kill_after = observer.num_kills + 1, 0
        if refresh is not None:
            refresh.update(progress_line(observer))
        elif time.monotonic() - shown_s > 2:  # noqa: PLR2004  seconds between lines where nothing can be redrawn
            shown_s = time.monotonic()
            Console(highlight=False).print(progress_line(observer))


@contextlib.contextmanager
def _live(console: Console, observer: Observer) -> Iterator[Live | None]:
    """Redraw one line in a terminal; give None elsewhere."""
    if not console.is_terminal:
        yield None
        return
    with Live(progress_line(observer), console=console, refresh_per_second=8) as live:
        yield live


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310  our own worker
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
