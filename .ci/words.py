"""Find vague words in the texts that users read: pages, settings, `--help`, errors and log events.

python .ci/words.py           lists each finding as file:line, and exits 1 if there is a finding
python .ci/words.py --code    reads docstrings and comments of the Python code, too
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
#: Each expression, and the advice for it.
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
#: A decimal without a leading zero, as in `.98`; not a version and not the name of a file.
_BARE_DECIMAL = re.compile(r"(?<![\w.)\]`*/-])\.\d+(?![\w./])")
_PAGES = ("*.md", ".env.example")


def list_pages() -> list[Path]:
    """Return the pages of the repository."""
    command = ["git", "ls-files", *_PAGES]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603  fixed arguments
    return [ROOT / name for name in names.splitlines() if (ROOT / name).exists()]


def list_sources() -> list[Path]:
    """Return the Python files with texts for users."""
    return sorted(path for folder in ("worker", "schemas") for path in (ROOT / folder).rglob("*.py"))


def read_page(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a page without code, results of runs, targets of links and tags."""
    is_code = is_result = False
    for number, line in enumerate(text.splitlines(), 1):
        # The results name the tests of an earlier commit.
        is_result = (is_result or line == "<!-- faults -->") and line != "<!-- /faults -->"
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code and not is_result:
            yield number, re.sub(r"`[^`]*`|\]\([^)]*\)|<[^>]*>", "", line)


def read_literals(text: str, *, with_docstrings: bool) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a module's literals with a space, and of the docstrings of its commands.

    `with_docstrings` adds all other docstrings, and the comments.
    """
    tree = ast.parse(text)
    docstrings = set() if with_docstrings else {id(constant) for constant in _find_docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value and id(node) not in docstrings:
            yield from enumerate(node.value.splitlines(), node.lineno)
    if with_docstrings:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and "noqa" not in token.string:
                yield token.start[0], token.string


def _find_docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the docstrings of a module that are not the help of a command, which has a decorator."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
            continue
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and not getattr(node, "decorator_list", ()):
            yield first.value


def find_words(lines: Iterator[tuple[int, str]], *, checks_decimals: bool) -> Iterator[tuple[int, str]]:
    """Yield the number of each line with a finding, and the advice."""
    for number, line in lines:
        for match in _FOUND.finditer(line):
            advice = list(WORDS.values())[next(index for index, group in enumerate(match.groups()) if group is not None)]
            yield number, f"{match[0]!r}: write {advice}"
        if checks_decimals and (match := _BARE_DECIMAL.search(line)):
            yield number, f"{match[0]!r}: write the zero before the point"


def main(arguments: list[str]) -> int:
    """List the findings; return the exit code."""
    read_source = partial(read_literals, with_docstrings="--code" in arguments)
    num_found = 0
    for paths, read in ((list_pages(), read_page), (list_sources(), read_source)):
        for path in paths:
            for number, advice in find_words(read(path.read_text()), checks_decimals=read is read_page):
                sys.stdout.write(f"{path.relative_to(ROOT)}:{number}: {advice}\n")
                num_found += 1
    return 1 if num_found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
