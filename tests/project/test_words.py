"""The word list finds vague words in texts that users read, and in nothing else."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).parents[2] / ".ci" / "words.py"


@pytest.fixture(scope="module", name="words")
def load_words() -> ModuleType:
    """Load the script, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("words", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_in_page(words: ModuleType, text: str) -> list[int]:
    """Return the numbers of the lines of a page with a finding."""
    return [number for number, _ in words.find_words(words.read_page(text), checks_decimals=True)]


@pytest.mark.parametrize(
    "sentence",
    [
        "That is what one writes first.",
        "The worker lets go of the model.",
        "Nobody reads the topic.",
        "A broker forgot to end a transaction.",
        "The batch waits for company.",
        "A pass gives way to live records.",
        "The cosine is .98 in the mean.",
    ],
)
def test_vague_sentence_is_found(words: ModuleType, sentence: str) -> None:
    """Each sentence of the kind that the style rules forbid is a finding on its line."""
    assert find_in_page(words, f"# Title\n\n{sentence}\n") == [3]


@pytest.mark.parametrize(
    "text",
    [
        "The worker sends standard records and drops the rest by design.",
        "```\nwhat one writes\n```",
        "<!-- faults -->\n| a worker is told to stop |\n<!-- /faults -->",
        "The file `nobody.py` and [a page](somebody.md).",
        "The cosine is 0.98, in version 1.2.3.",
    ],
)
def test_plain_sentences_and_code_are_not_found(words: ModuleType, text: str) -> None:
    """Plain sentences, code and targets of links are no findings."""
    assert find_in_page(words, text) == []


def test_literals_are_read_without_docstrings(words: ModuleType) -> None:
    """A literal and the docstring of a command reach users; other docstrings and comments are read on request only."""
    source = '"""Nobody here."""\n@command\ndef run():\n    """Tell nobody."""\n    raise ValueError("nobody is there")  # nobody\n'
    plain = words.find_words(words.read_literals(source, with_docstrings=False), checks_decimals=False)
    assert [number for number, _ in plain] == [4, 5]
    everything = words.find_words(words.read_literals(source, with_docstrings=True), checks_decimals=False)
    assert sorted(number for number, _ in everything) == [1, 4, 5, 5]
