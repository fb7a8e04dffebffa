"""Write the commands of docs/command-line.md from the command line itself.

python .ci/command_line.py            writes them
python .ci/command_line.py --check    exits 1 if the page is not current
"""

from __future__ import annotations

import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.main import get_command

from worker.cli import app
from worker.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"
_BLOCK = re.compile(r"(?<=<!-- commands -->\n).*?(?=<!-- /commands -->)", re.DOTALL)


def build_page(page: str) -> str:
    """Return the page with a section for each command."""
    return _BLOCK.sub(lambda _: "\n".join(describe_group(get_command(app), "gist-stream")) + "\n", page)


def describe_group(group: Any, path: str) -> Iterator[str]:
    """Yield a section for each command of a group, and for the commands of its groups."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from describe_group(command, f"{path} {name}")
        else:
            yield describe_command(command, f"{path} {name}")


def describe_command(command: Any, path: str) -> str:
    """Return the section of a command: its help, its arguments and its own options."""
    own = [parameter for parameter in command.params if parameter.name not in Settings.model_fields and not parameter.hidden]
    arguments = [parameter for parameter in own if parameter.param_type_name == "argument"]
    options = [parameter for parameter in own if parameter.param_type_name == "option" and parameter.name != "help"]
    usage = " ".join([path, *map(_describe_argument, arguments)])
    parts = [f"## {path}", f"```\n{usage}\n```", _clean(command.help)]
    rows = [f"| `{_describe_argument(argument)}` | {_clean(argument.help)} |" for argument in arguments]
    rows += [f"| `{'`, `'.join(option.opts)}` | {_describe_option(option)} |" for option in options]
    if rows:
        parts.append("\n".join(["| parameter | meaning |", "| --- | --- |", *rows]))
    if len(own) < len(command.params):
        parts.append("[Settings](settings.md) are flags of this command, too.")
    return "\n\n".join(parts) + "\n"


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
