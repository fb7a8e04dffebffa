"""Write the commands of docs/reference/command-line.md from the command line itself.

python .ci/command_line.py            writes them
python .ci/command_line.py --check    exits 1 if the page is not current
"""

from __future__ import annotations

import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.cli import COMMANDS
from worker.commands.lazy_group import Command, CommandGroup
from worker.commands.setting_flags import ALL, CONNECTION
from worker.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"
_BLOCK = re.compile(r"(?<=<!-- commands -->\n).*?(?=<!-- /commands -->)", re.DOTALL)


def build_page(page: str) -> str:
    """Return the page with a heading for each panel of `gist-stream --help`, and a section for each command."""
    panels = dict.fromkeys(entry.panel for entry in COMMANDS.values())
    sections = []
    for panel in panels:
        sections.append(f"## {panel}\n")
        sections += describe_commands({name: entry for name, entry in COMMANDS.items() if entry.panel == panel}, "gist-stream")
    return _BLOCK.sub(lambda _: "\n".join(sections) + "\n", page)


def describe_commands(entries: Mapping[str, Command | CommandGroup], path: str) -> Iterator[str]:
    """Yield a section for each command, and for the commands of each group."""
    for name, entry in entries.items():
        if isinstance(entry, CommandGroup):
            yield from describe_commands(entry.commands, f"{path} {name}")
        else:
            yield describe_command(entry, name, f"{path} {name}")


def describe_command(entry: Command, name: str, path: str) -> str:
    """Return the section of a command: its help, an example, its arguments, its own options and its settings."""
    command = entry.load(name)
    own = [parameter for parameter in command.params if parameter.name not in (entry.settings or ()) and not parameter.hidden]
    arguments = [parameter for parameter in own if parameter.param_type_name == "argument"]
    options = [parameter for parameter in own if parameter.param_type_name == "option" and parameter.name != "help"]
    parts = [f"### {path}", _clean(command.help), f"```\n{entry.example}\n```"]
    rows = [f"| `{_describe_argument(argument)}` | {_clean(argument.help)} |" for argument in arguments]
    rows += [f"| `{'`, `'.join(option.opts)}` | {_describe_option(option)} |" for option in options]
    if rows:
        parts.append("\n".join(["| parameter | meaning |", "| --- | --- |", *rows]))
    if entry.settings:
        parts.append(_describe_settings(entry))
    return "\n\n".join(parts) + "\n"


def _describe_settings(entry: Command) -> str:
    if entry.settings == ALL:
        return "All [settings](settings.md) are flags of this command."
    is_connected = set(CONNECTION) <= set(entry.settings or ())
    shared = ["the settings of the [connection](settings.md#connection)"] if is_connected else []
    names = [name for name in entry.settings or () if not (is_connected and name in CONNECTION)]
    links = [f"[`--{name.replace('_', '-')}`](settings.md#{(PREFIX + name).lower()})" for name in names]
    return f"Settings that are flags of this command: {', '.join(shared + links)}."


def _describe_argument(argument: Any) -> str:
    name = argument.name.upper() + (" …" if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _describe_option(option: Any) -> str:
    text = _clean(option.help)
    annotation = option.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        text += f" Values: {', '.join(f'`{value}`' for value in annotation)}."
    if option.show_default and option.default and option.default is not True and not callable(option.default):
        text += f" Default: `{option.default}`."
    return text


def _clean(text: str | None) -> str:
    """Return the text of a help in one line that is safe in a table."""
    return re.sub(r"[ \n]+", " ", (text or "").replace("\b", "")).replace("|", "\\|").strip()


def main(arguments: list[str]) -> int:
    """Write the page, or check it; return the exit code."""
    page = PAGE.read_text()
    current = build_page(page)
    if arguments == ["--check"] and page != current:
        sys.stderr.write(f"{PAGE.name} is not current: run make generate\n")
        return 1
    PAGE.write_text(current)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
