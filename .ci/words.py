"""Find words that hide the subject, in everything that a user reads: pages, settings, `--help`, errors and log events.

python .ci/words.py             lists each finding as file:line and exits 1 where there is one
python .ci/words.py --code      docstrings and comments of the Python code, too
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Each expression with what to write instead.
WORDS = {
    r"what one": "name the thing",
    r"what (?:is|was|are) (?:there|ours)": "name the thing",
    r"lets? (?:it |them |others )?go\b": "drop, release, unload",
    r"(?:no|some)body": "no process, the operator, you",
    r"whoever|whatever": "name the process or the person",
    r"beside(?! the point)": "next to, with, in addition to",
    r"so (?:many|much|long|far|often) (?!as\b|that\b)\w+": "the number, with its unit",
    r"be (?:it|they)\b": "even if, whether",
    r"(?:is|are|was|were|be) told": "receives, is notified, is configured",
    r"stands?\b(?! ?-?(?:ard|alone|in\b|by\b|for\b))": "is, is at offset",
    r"(?:for|in|the) company": "other records",
    r"forg[eo]ts?\b|forgotten": "drops, does not complete",
    r"heed\w*": "check, obey",
    r"anew": "again",
    r"the former": "name it",
    r"since then": "the changelog has the history",
    r"a way (?:that|of|to)": "backend, mode, method",
    r"gives? way|giving way": "yields",
    r"(?<!dead )(?<!dead-)letters?(?= (?:that|is|are|was|of the topic))": "dead letter",
    r"(?:it|who|that) (?:says|tells|knows)": "name the module, log line or setting",
    r"one writes": "the baseline",
}
_FOUND = re.compile(r"\b(?:" + "|".join(f"({expression})" for expression in WORDS) + ")", re.IGNORECASE)
#: A decimal without its zero, as in `.98`; versions and file names are not meant.
_BARE_DECIMAL = re.compile(r"(?<![\w.)\]`*/-])\.\d+(?![\w./])")
_PAGES = ("*.md", "docs/**/*.md", ".env.example")
# A line of a page that quotes what the project does not control, or that is generated from data.
_IGNORED_PAGES = {"LICENSE"}


def pages() -> list[Path]:
    """Return the pages that are part of the repository."""
    names = subprocess.run(["git", "ls-files", *_PAGES], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607  git is required
    return [ROOT / name for name in dict.fromkeys(names.splitlines()) if Path(name).name not in _IGNORED_PAGES and (ROOT / name).exists()]


def sources() -> list[Path]:
    """Return the Python files whose texts reach a user."""
    return sorted(path for folder in ("worker", "schemas") for path in (ROOT / folder).rglob("*.py"))


def page_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page with their numbers, without blocks of code and without code in a line."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, re.sub(r"`[^`]*`|\]\([^)]*\)|<[^>]*>", "", line)


def literal_lines(text: str, *, with_docstrings: bool) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module that a user reads: literals with a space in them; docstrings of commands are their help."""
    tree = ast.parse(text)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            is_command = bool(getattr(node, "decorator_list", ()))
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and not is_command:
                docstrings.add(id(first.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            if with_docstrings or id(node) not in docstrings:
                yield from ((node.lineno + offset, line) for offset, line in enumerate(node.value.splitlines()))
    if with_docstrings:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and "noqa" not in token.string:
                yield token.start[0], token.string


def findings(lines: Iterator[tuple[int, str]], *, checks_decimals: bool) -> Iterator[tuple[int, str]]:
    """Yield the number of each line with a finding, and what to write instead."""
    for number, line in lines:
        for match in _FOUND.finditer(line):
            instead = list(WORDS.values())[next(index for index, group in enumerate(match.groups()) if group is not None)]
            yield number, f"{match[0]!r}: write {instead or 'something else'}"
        if checks_decimals and (match := _BARE_DECIMAL.search(line)):
            yield number, f"{match[0]!r}: write the zero before the point"


def main(arguments: list[str]) -> int:
    """List the findings; return the exit code."""
    with_code = "--code" in arguments
    num_found = 0
    for path in pages():
        for number, advice in findings(page_lines(path.read_text()), checks_decimals=True):
            print(f"{path.relative_to(ROOT)}:{number}: {advice}")  # noqa: T201  the report
            num_found += 1
    for path in sources():
        for number, advice in findings(literal_lines(path.read_text(), with_docstrings=with_code), checks_decimals=False):
            print(f"{path.relative_to(ROOT)}:{number}: {advice}")  # noqa: T201  the report
            num_found += 1
    return 1 if num_found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
