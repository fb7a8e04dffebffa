"""Every command that the documents show exists, and every page is reached."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from worker.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def quoted(page: Path) -> str:
    """Return the code of a page: its blocks, lines that go on joined, and what stands between backticks."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", rest)])


@pytest.mark.parametrize("page", PAGES, ids=lambda it: it.name)
def test_every_command_of_a_page_exists(page: Path) -> None:
    """Each `gist-stream …` names a command and options that it has; each `make …` a target."""
    for line in re.findall(r"(?:^|[\s;&|(])gist-stream ([a-z][^#|;&\n]*)", quoted(page)):
        command: Any = get_command(app)
        words = line.split()
        while words and hasattr(command, "commands"):
            # `train` means `train run`, as its group says.
            name = "run" if command.name == "train" and words[0] not in command.commands else words.pop(0)
            assert name in command.commands, f"gist-stream {line}"
            command = command.commands[name]
        known = {option for it in command.params for option in it.opts}
        used = {it.partition("=")[0] for it in words if it.startswith("--")}
        assert used <= known | {"--help"}, f"gist-stream {line}"
    for target in re.findall(r"(?:^|[\s;&|(])make ([a-z][a-z-]*)", quoted(page), re.MULTILINE):
        assert target in TARGETS, f"make {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda it: it.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    """A link that is no address names a file that is there."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
