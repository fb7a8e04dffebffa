"""The ACLs that `docs/operate/security.md` grants, read from its commands. The tests grant exactly these."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOCUMENT = Path(__file__).parents[2] / "docs" / "operate" / "security.md"
# The numbers of resource types and operations: https://kafka.apache.org/protocol
_KINDS = {"--topic": 2, "--group": 3, "--transactional-id": 5}
_OPERATIONS = {"Read": 3, "Write": 4, "DescribeConfigs": 10}
_LITERAL, _PREFIXED = 3, 4


@dataclass(frozen=True, slots=True)
class Acl:
    """One operation on one resource, or on all resources with a prefix."""

    user: str
    operation: int
    kind: int
    name: str
    pattern: int = _LITERAL

    @property
    def filter(self) -> tuple[int, str, int, str, str, int]:
        """The fields that identify the ACL in a request."""
        return self.kind, self.name, self.pattern, f"User:{self.user}", "*", self.operation

    def __str__(self) -> str:
        """Return the ACL as an error message names it."""
        operation = next(name for name, number in _OPERATIONS.items() if number == self.operation)
        return f"{operation} on {self.name}"


def read_documented_acls(delivery: str, *, topic: str = "texts", group: str = "gist-stream") -> list[Acl]:
    """Return the ACLs of a worker with a delivery mode, for the given topic and group."""
    parts = re.findall(r"<!-- acls ([\w ]+) -->\n```\n(.*?)```", _DOCUMENT.read_text(), re.DOTALL)
    commands = [line for modes, text in parts if delivery in modes.split() for line in text.replace("\\\n", " ").splitlines()]
    acls = [acl for command in commands for acl in _acls(command)]
    return [replace(acl, name=_rename(acl, topic, group)) for acl in acls]


def _acls(command: str) -> Iterator[Acl]:
    words = shlex.split(command)
    values = list(itertools.pairwise(words))
    user = next(value for option, value in values if option == "--allow-principal").removeprefix("User:")
    pattern = _PREFIXED if ("--resource-pattern-type", "prefixed") in values else _LITERAL
    for option, name in values:
        if option in _KINDS:
            for _, operation in (pair for pair in values if pair[0] == "--operation"):
                yield Acl(user, _OPERATIONS[operation], _KINDS[option], name, pattern)


def _rename(acl: Acl, topic: str, group: str) -> str:
    if acl.kind == _KINDS["--topic"]:
        return re.sub(r"^texts", topic, acl.name)
    return group if acl.kind == _KINDS["--group"] else f"gist-stream:{group}:"
