"""The documents that are made from the settings: `.env.example`, and the table in the README.

python -m worker.settings.documents --write    writes them
python -m worker.settings.documents --check    exits 1 where one is not current
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from worker.settings import Settings
from worker.settings.connection import PREFIX


def env_example() -> str:
    """Return `.env.example`: every setting with its default, commented out."""
    lines = ["# Copy to .env and uncomment what should differ. Made by `python -m worker.settings.documents --write`."]
    for name, field in Settings.model_fields.items():
        lines += ["", f"# {field.description}", f"#{PREFIX}{name.upper()}={shown_default(name)}"]
    return "\n".join(lines) + "\n"


def markdown_table() -> str:
    """Return the table of all settings for the README."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {f'`{default}`' if (default := shown_default(name)) else ''} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | what it does, and how to choose it |", "| --- | --- | --- |", *rows])


def shown_default(name: str) -> str:
    """Return a default as one would write it in the environment; empty for unset."""
    default = Settings.model_fields[name].default
    if default is None or default == frozenset():
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


_TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=\n<!-- /settings -->)", re.DOTALL)


def _generated(root: Path) -> dict[Path, str]:
    readme = root / "README.md"
    return {root / ".env.example": env_example(), readme: _TABLE.sub(lambda _: markdown_table(), readme.read_text())}


def main(arguments: list[str]) -> int:
    """Write the generated files, or check them; return the exit code."""
    generated = _generated(Path(__file__).parents[2])
    outdated = [path for path, text in generated.items() if not path.exists() or path.read_text() != text]
    if arguments == ["--write"]:
        for path in outdated:
            path.write_text(generated[path])
        return 0
    for path in outdated:
        sys.stderr.write(f"{path.name} is not current: run python -m worker.settings.documents --write\n")
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
