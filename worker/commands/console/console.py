"""Run the console: a page in the browser with the state of the workers, their results and their dead letters."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from aiohttp import web

from worker.broker.admin.topics import check_usable
from worker.commands.console.sources import WorkerLetters, WorkerTopics, build_rights, build_token_reader
from worker.composition.broker import build_connection, find_served_tasks, list_used_topics
from worker.composition.input import build_limits, build_mapping
from worker.console.feeds import Feeds
from worker.console.inference import InferenceEndpoint
from worker.console.live_view import LiveView
from worker.console.record_store import RecordStore
from worker.console.server import Console, build_application
from worker.errors import BadSettings, describe_error
from worker.records import Task
from worker.wire.mapping import build_decoder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from worker.settings import Settings

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


Workers = Annotated[
    list[str] | None,
    typer.Option(
        "--worker",
        help="The HTTP address of a worker, whose /metrics is read; may be repeated. Without an address, the page shows only "
        "what the brokers know. Example: http://127.0.0.1:8080.",
        show_default=False,
    ),
]
_API_HELP = "The address of a worker's inference endpoint, for typed texts. Example: http://127.0.0.1:8090."
_API_LOGIN_HELP = "A file with the bearer token of the inference endpoint."
_HOST_HELP = "The address to listen at. Another address than the default shows the texts to every client that reaches it."
_RECORDS_HELP = "Newest records to keep in memory with their vectors. 10,000 records of short texts take about 100 MB."
_REPLAY_HELP = "Allow replays of dead letters on the page, with a token that the console prints."
_REPLAY_LOGIN_HELP = "A file with the token for replays. Unset: a random token."


def console(
    settings: Settings,
    *,
    workers: Workers = None,
    api: Annotated[str | None, typer.Option(help=_API_HELP, show_default=False)] = None,
    api_token_file: Annotated[Path | None, typer.Option(help=_API_LOGIN_HELP, show_default=False)] = None,
    host: Annotated[str, typer.Option(help=_HOST_HELP)] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen at. 0: a free port, which is printed.")] = 8088,
    max_records: Annotated[int, typer.Option(min=100, max=1_000_000, help=_RECORDS_HELP)] = 10_000,
    allows_replay: Annotated[bool, typer.Option("--allow-replay", help=_REPLAY_HELP)] = False,
    token_file: Annotated[Path | None, typer.Option(help=_REPLAY_LOGIN_HELP, show_default=False)] = None,
) -> None:
    """Run a page in the browser: rates and backlog of the workers, newest results, dead letters, and a search.

    The console only reads topics and metrics, and joins no group. It keeps the newest records in memory and writes nothing, except
    for replays with --allow-replay.
    """
    if token_file and not allows_replay:
        raise BadSettings("--token-file has no effect without --allow-replay")
    if api_token_file and not api:
        raise BadSettings("--api-token-file has no effect without --api")
    token = (_read_token(token_file) if token_file else secrets.token_urlsafe(18)) if allows_replay else None
    api_token = _read_token(api_token_file) if api_token_file else None
    endpoint = InferenceEndpoint(_check_url("--api", api), api_token, settings.result_field) if api else None
    shown = build_console(settings, workers or (), endpoint=endpoint, replay_token=token, host=host, max_records=max_records)
    with contextlib.suppress(KeyboardInterrupt):
        # SIGTERM ends the console as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        asyncio.run(shown.serve(host, port, announce=None if token_file else token))


@dataclass(frozen=True, slots=True)
class RunningConsole:
    """A console and the tasks that keep it current."""

    settings: Settings
    console: Console
    feeds: Feeds

    async def serve(self, host: str, port: int, *, announce: str | None) -> None:
        """Serve until cancelled. Raises `TopicsMissing`, `BrokerUnavailable`, and `BadSettings` if the address cannot be used."""
        rights = build_rights(self.settings, allows_replay=self.console.replay_token is not None)
        await check_usable(build_connection(self.settings), rights)
        runner = web.AppRunner(build_application(self.console), access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise BadSettings(
                    f"--port {port}: the console cannot listen at {host}: {error.strerror or describe_error(error)}"
                ) from error
            self._announce(host, runner.addresses[0][1], announce)
            await self.feeds.run()
        finally:
            await runner.cleanup()

    def _announce(self, host: str, port: int, token: str | None) -> None:
        shown = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"console at http://{shown}:{port}/ (Ctrl-C ends)\n")
        sys.stdout.flush()
        if token:
            sys.stderr.write(f"the token for replays is {token}\n")
        if not _is_loopback(host):
            sys.stderr.write("the page has no login: every client that reaches this address can read the texts\n")


def build_console(
    settings: Settings,
    workers: Iterable[str],
    *,
    endpoint: InferenceEndpoint | None = None,
    replay_token: str | None = None,
    host: str = "127.0.0.1",
    max_records: int = 10_000,
) -> RunningConsole:
    """Return the console of the workers that have these settings. Raises `BadSettings` for an address that is none."""
    addresses = list(dict.fromkeys(_check_url("--worker", address) for address in workers))
    outputs = list_used_topics(settings, find_served_tasks(settings))
    decode = build_decoder(build_mapping(settings), limits=build_limits(settings), tasks=frozenset(Task))
    store = RecordStore(outputs=outputs, decode=decode, result_field=settings.result_field, max_records=max_records)
    description = {"input_topics": settings.input_topics, "group_id": settings.group_id}
    live, names = LiveView(addresses), _LOOPBACK_NAMES | {host} if _is_loopback(host) else frozenset[str]()
    read_tokens = build_token_reader(settings.model) if endpoint else None
    shown = Console(description, store, live, WorkerLetters(settings), endpoint, replay_token, names, read_tokens)
    return RunningConsole(
        settings, shown, Feeds(topics=WorkerTopics(settings), workers=addresses, store=store, live=live, hub=shown.hub)
    )


def _is_loopback(host: str) -> bool:
    if host in _LOOPBACK_NAMES:
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _check_url(flag: str, address: str) -> str:
    """Return the address without a slash at its end. Raises `BadSettings` for another form."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise BadSettings(f"{flag} {address}: write an address such as http://127.0.0.1:8080")
    return address.rstrip("/").removesuffix("/metrics")


def _read_token(file: Path) -> str:
    """Return the first line of a file. Raises `BadSettings` if there is none."""
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{file}: the token cannot be read: {describe_error(error)}") from error
    if not token or not token.isascii() or len(token.split()) != 1:
        raise BadSettings(f"{file}: write the token as one word of ASCII characters on one line")
    return token
