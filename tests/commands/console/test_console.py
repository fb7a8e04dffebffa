"""The flags of `gist-stream console`."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from worker.commands.console import console as command
from worker.commands.console.console import build_console, console
from worker.commands.console.sources import build_token_reader
from worker.errors import BadSettings
from worker.settings import read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"workers": ["127.0.0.1:8080"]}, "--worker 127.0.0.1:8080: write an address such as http://127.0.0.1:8080"),
        ({"workers": ["http://"]}, "--worker http://: write an address"),
        ({"workers": ["file:///etc/passwd"]}, "--worker file:///etc/passwd: write an address"),
        ({"api": "ftp://a"}, "--api ftp://a: write an address"),
        ({"token": "x"}, "--token-file has no effect without --allow-replay"),
        ({"token": "x", "api_token": True}, "--token-file has no effect"),
        ({"api_token": True}, "--api-token-file has no effect without --api"),
        ({"token": "two words", "allows_replay": True}, "write the token as one word"),
        ({"token": "", "allows_replay": True}, "write the token as one word"),
        ({"token": "é", "allows_replay": True}, "write the token as one word"),
        ({"token": None, "allows_replay": True}, "the token cannot be read"),
    ],
)
def test_a_wrong_flag_is_one_line(flags: dict[str, Any], words: str, tmp_path: Path) -> None:
    """A flag that is wrong, or that has no effect, ends the command before it connects."""
    file = tmp_path / "token"
    if flags.get("token") is not None:
        file.write_text(flags["token"])
    if "token" in flags:
        flags["token_file"] = file
    if flags.pop("api_token", False):
        flags["api_token_file"] = file
    flags.pop("token", None)
    with pytest.raises(BadSettings) as raised:
        console(read({}), **flags)
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_addresses_of_workers_are_written_in_several_ways() -> None:
    """A slash or `/metrics` at the end is the same address, and an address counts once."""
    shown = build_console(read({}), ["http://a:1", "http://a:1/", "http://a:1/metrics", "https://b"]).console
    assert [worker["address"] for worker in shown.live.take_sample(0.0)["workers"]] == ["http://a:1", "https://b"]


@pytest.mark.parametrize(("host", "is_bounded"), [("127.0.0.1", True), ("::1", True), ("127.0.0.9", True), ("0.0.0.0", False)])  # noqa: S104
def test_names_are_checked_at_loopback_addresses(host: str, *, is_bounded: bool) -> None:
    """A console on loopback accepts the names of loopback only; at another address each name is accepted."""
    assert bool(build_console(read({}), [], host=host).console.host_names) == is_bounded


async def test_a_port_in_use_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names address and reason."""

    async def check_nothing(*_arguments: object) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(command, "check_usable", check_nothing)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSettings, match=f"--port {port}: the console cannot listen at 127.0.0.1"):
            await build_console(read({}), []).serve("127.0.0.1", port, announce=None)


@pytest.mark.model
def test_a_text_is_split_into_the_tokens_of_the_model() -> None:
    """The tokens have the special tokens of the model; a model that is not on this machine has none."""
    split = build_token_reader(read({}).model)
    assert split is not None
    assert split("Hello London") == ["[CLS]", "hello", "london", "[SEP]"]
    assert build_token_reader("no/such-model@0123456") is None
