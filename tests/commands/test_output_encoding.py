"""A terminal with ASCII output: other characters are escaped, and JSON stays valid."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.commands.output_encoding import _escape

NARROW = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@given(st.characters(min_codepoint=128))
def test_an_escape_is_the_character_in_json(char: str) -> None:
    """A character beyond the basic plane is a pair of escapes."""
    assert json.loads(f'"{_escape(char)}"') == char
    assert _escape(char).isascii()


@pytest.mark.parametrize("surroundings", NARROW)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "--bootstrap-servers", "127.0.0.1:1", "--model", "./nowhere-é", "--group-id", "grüße-😀"], 3),
        (["run", "--http-port", "0", "--model", "./nowhere-é", "--log-format", "json"], 5),
        (["run", "--help"], 0),
        (["data", "nirgends-ü.csv"], 2),
        (["run", "--http-port", "é"], 2),
        (["run", "--no-such-flag-é"], 2),
    ],
)
def test_no_command_ends_with_a_traceback(arguments: list[str], code: int, surroundings: dict[str, str]) -> None:
    """The exit code is the same as in a UTF-8 terminal."""
    command = [sys.executable, "-P", "-m", "worker", *arguments]
    ended = subprocess.run(command, check=False, env=os.environ | surroundings, capture_output=True)
    # Where Python reads ASCII alone, a setting with other characters is a bad setting.
    assert ended.returncode in {code, 2 if "PYTHONUTF8" in surroundings else code}, ended.stderr.decode(errors="replace")
    assert b"Traceback" not in ended.stdout + ended.stderr
    assert b"Logging error" not in ended.stderr
