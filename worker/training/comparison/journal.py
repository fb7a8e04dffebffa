"""The results of finished cells, one JSON object per line: an interrupted comparison continues after the last line."""

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
class CellResult:
    """The scores of one cell."""

    contender: str
    share: float
    seed: int
    #: On held-out texts: the accuracy of the large task, and the entity F1 of the small task.
    large: float
    small: float
    #: Duration of training, without the computation of a frozen encoder's states.
    seconds: float
    steps: int

    @property
    def key(self) -> tuple[str, float, int]:
        """The name of the cell."""
        return self.contender, self.share, self.seed


class Journal:
    """A file with the results of one plan; `fingerprint` identifies the plan."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path = path
        self._fingerprint = fingerprint

    def read(self) -> list[CellResult]:
        """Return the complete results; raises `BadSettings` for a damaged file, and for results of another plan."""
        if not self._path.exists():
            return []
        complete, _, _ = self._path.read_text().rpartition("\n")
        results = []
        for number, line in enumerate(complete.splitlines(), start=1):
            try:
                values = json.loads(line)
                if values.pop("plan") != self._fingerprint:
                    raise BadSettings(f"{self._path}:{number}: a comparison with other settings or data; choose another directory")
                results.append(CellResult(**values))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise BadSettings(f"{self._path}:{number}: not a result: {error}") from error
        return results

    def append(self, result: CellResult) -> None:
        """Write a result to the disk, over an incomplete last line; raises `BadSettings` if the disk is full."""
        line = json.dumps({"plan": self._fingerprint} | asdict(result)).encode() + b"\n"
        with translate_write_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b") as file:
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
