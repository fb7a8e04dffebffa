"""Draw the pictures of the README: the terminal of a run of the demo, and the speed of the engines.

python .ci/pictures.py demo     runs the demo in a terminal and writes docs/pictures/demo.svg
python .ci/pictures.py speed    draws the README's table of engines into docs/pictures/speed.svg
python .ci/pictures.py --check  exits 1 if docs/pictures/speed.svg is not current
"""

from __future__ import annotations

import fcntl
import html
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
README, DEMO, SPEED = ROOT / "README.md", ROOT / "docs" / "pictures" / "demo.svg", ROOT / "docs" / "pictures" / "speed.svg"
_COLUMNS = 96
#: The first words of the parts of the demo's output that the picture leaves out, and of the parts that follow them.
_LEFT_OUT, _KEPT = ("nearest neighbours", "next:"), ("dead letters", "audit")
_MAX_RESULTS = 8
_RESULT = re.compile(r"│ \w+ \d\.\d\d ")
_PROGRESS = re.compile(r"^ *\d+ of \d+ records")
_FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_THEME = TerminalTheme(
    (18, 22, 31),
    (222, 226, 236),
    [
        *((18, 22, 31), (240, 113, 120), (130, 200, 120), (236, 196, 110)),
        *((110, 160, 245), (190, 140, 235), (90, 195, 205), (200, 205, 215)),
    ],
    [
        *((110, 118, 135), (255, 140, 140), (160, 225, 145), (255, 215, 130)),
        *((140, 185, 255), (215, 170, 255), (120, 225, 235), (255, 255, 255)),
    ],
)


def run_in_terminal(command: list[str], columns: int) -> str:
    """Run a command in a terminal of that width and return its output, with escape sequences."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIST_")} | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=ROOT, stdin=child, stdout=child, stderr=child, env=environment)  # noqa: S603  our own command
    os.close(child)
    output = b""
    while True:
        try:
            part = os.read(parent, 65_536)
        except OSError:  # Linux reports the end of a terminal as an error.
            break
        if not part:
            break
        output += part
    if code := process.wait():
        sys.stderr.write(output.decode())
        sys.exit(code)
    return output.decode()


def settle(output: str) -> list[str]:
    """Return the lines that remain visible, with colours: of a line that was redrawn, the last state."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-HJKSThl]", "", output.replace("\r\n", "\n"))
    return [next((part for part in reversed(line.split("\r")) if part), "") for line in text.split("\n")]


def draw_terminal(lines: list[str], title: str, columns: int) -> str:
    """Return an SVG of a terminal with these lines. The SVG requests no font from another host."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    code_format = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    code_format = code_format.replace("Fira Code, monospace", _FONTS).replace("font-family: arial", "font-family: sans-serif")
    return console.export_svg(title=title, theme=_THEME, code_format=code_format, unique_id="demo")


def shorten(lines: list[str]) -> list[str]:
    """Return the lines of a run of the demo without the parts that the picture leaves out; an ellipsis marks each gap."""
    kept: list[str] = []
    part, num_rows = "", 0
    for line in lines:
        plain = Text.from_ansi(line).plain.strip()
        part = next((start for start in (*_LEFT_OUT, *_KEPT) if plain.startswith(start)), part)
        num_rows += bool(_RESULT.match(plain))
        is_left_out = part in _LEFT_OUT or (plain.startswith("│") and num_rows > _MAX_RESULTS)
        is_redrawn = bool(kept) and all(_PROGRESS.search(Text.from_ansi(shown).plain) for shown in (kept[-1], line))
        if is_redrawn:
            kept[-1] = line
        elif not is_left_out:
            kept.append(line)
        elif kept[-1] != "…":
            kept.append("…")
    while kept and kept[-1].strip() in {"", "…"}:
        kept.pop()
    return kept


def draw_speed(readme: str) -> str:
    """Return a bar chart of the README's table of engines as SVG."""
    table = re.search(r"<!-- speed -->\n(?P<intro>.*?)\n\n(?P<rows>\|.*?)\n<!-- /speed -->", readme, re.DOTALL)
    if table is None:
        raise SystemExit("README.md has no table between <!-- speed --> and <!-- /speed -->")
    rows = [[cell.strip(" *`") for cell in row.strip("|").split("|")] for row in table["rows"].splitlines()[2:]]
    bars = [(name.replace("`", ""), float(rate.replace(",", "")), factor) for name, rate, factor in rows]
    largest, left, width, step, top = max(rate for _, rate, _ in bars), 420, 460, 38, 84
    claim = f"{bars[-1][2]} times as many texts per second as the baseline"
    height = top + step * len(bars) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 {height}" width="980" height="{height}" role="img"',
        'aria-labelledby="t" font-family="ui-sans-serif, system-ui, sans-serif" font-size="15">',
        f'<title id="t">{claim}</title>',
        "<style>",
        ".bg{fill:#ffffff}.t{fill:#1c2333}.s{fill:#566079;font-size:13px}.b{fill:#b9c4dd}.o{fill:#4466cc}",
        "@media (prefers-color-scheme: dark){.bg{fill:#12161f}.t{fill:#eef1f8}.s{fill:#a9b3c9}.b{fill:#414b63}.o{fill:#7f9bff}}",
        "</style>",
        f'<rect class="bg" width="980" height="{height}" rx="10"/>',
        f'<text class="t" x="20" y="34" font-size="18" font-weight="bold">{claim}</text>',
        f'<text class="s" x="20" y="58">{html.escape(table["intro"].rstrip(":"))}</text>',
    ]
    for number, (name, rate, _) in enumerate(bars):
        y, length = top + step * number, max(2.0, width * rate / largest)
        kind = "o" if number == len(bars) - 1 else "b"
        parts += [
            f'<text class="t" x="{left - 12}" y="{y + 18}" text-anchor="end">{html.escape(name)}</text>',
            f'<rect class="{kind}" x="{left}" y="{y}" width="{length:.0f}" height="26" rx="4"/>',
            f'<text class="t" x="{left + length + 10:.0f}" y="{y + 18}">{rate:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def main(arguments: list[str]) -> int:
    """Draw a picture or check it; return the exit code."""
    if arguments == ["demo"]:
        command = [sys.executable, "-P", "-m", "worker", "demo"]
        lines = shorten(settle(run_in_terminal(command, _COLUMNS)))
        DEMO.write_text(draw_terminal(["\x1b[1m$ make demo\x1b[0m", *lines], "GIST Stream", _COLUMNS))
        return 0
    if arguments == ["speed"]:
        SPEED.write_text(draw_speed(README.read_text()))
        return 0
    if arguments != ["--check"]:
        sys.stderr.write(__doc__ or "")
        return 2
    if SPEED.exists() and SPEED.read_text() == draw_speed(README.read_text()):
        return 0
    sys.stderr.write("docs/pictures/speed.svg is not current: run python .ci/pictures.py speed\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
