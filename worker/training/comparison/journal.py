"""The results of cells, a JSON line each, appended when one is done: a comparison that is cut off goes on where it was."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.model.checkpoint.atomic_files import translate_write_errors

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonResult:
    """What a cell came to."""

    contender: str
    share: float
    seed: int
    #: Accuracy of the rich task, and F1 of the scarce task's entities, on held-out texts.
    rich: float
    scarce: float
    #: Of training alone, computing the states of a frozen encoder not counted.
    seconds: float
    steps: int

    @property
    def key(self) -> tuple[str, float, int]:
        """What names the cell."""
        return self.contender, self.share, self.seed


class Journal:
    """A file of results of one plan."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        """Keep it at a path; `fingerprint` stands for the plan."""
        self._path = path
        self._fingerprint = fingerprint

    def read(self) -> list[ComparisonResult]:
        """Return what is done; a line that was cut off is not. Raises `BadSettings` where it is another plan's, or damaged."""
        if not self._path.exists():
            return []
        whole, _, _ = self._path.read_text().rpartition("\n")
        results = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                written = json.loads(line)
                if written.pop("plan") != self._fingerprint:
                    raise BadSettings(f"{self._path}:{number}: of a comparison with other settings or data; give another --output")
                results.append(ComparisonResult(**written))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise BadSettings(f"{self._path}:{number}: not a result: {error}") from error
        return results

    def append(self, result: ComparisonResult) -> None:
        """Add one, on the disk before this returns; raises `BadSettings` where that is full."""
        line = json.dumps({"plan": self._fingerprint} | asdict(result)).encode() + b"\n"
        with translate_write_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._cut_to_whole_lines()
            with self._path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())

    def _cut_to_whole_lines(self) -> None:
        content = self._path.read_bytes() if self._path.exists() else b""
        if content and not content.endswith(b"\n"):
            with self._path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)
