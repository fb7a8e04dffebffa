"""The log names weights that are overwritten under a running worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from worker.commands.run.weights_watch import watch_weights
from worker.model.checkpoint.mapped_tensors import map_tensors

if TYPE_CHECKING:
    from pathlib import Path


class Telemetry:
    """Keeps the files that were logged."""

    def __init__(self) -> None:
        self.files: asyncio.Queue[str] = asyncio.Queue()

    def weights_changed(self, file: str) -> None:
        """Keep the name of a file."""
        self.files.put_nowait(file)


async def test_a_file_that_is_written_in_place_is_logged(tmp_path: Path) -> None:
    """The mapped numbers have changed by then."""
    weights, telemetry = tmp_path / "weights", Telemetry()
    save_file({"numbers": np.ones(3, np.float32)}, weights)
    numbers = map_tensors(weights, ["numbers"])["numbers"]
    given: Any = telemetry
    watching = asyncio.create_task(watch_weights(given, interval_s=0))
    with weights.open("r+b") as file:
        file.seek(-4, 2)
        file.write(np.float32(7).tobytes())
    assert await telemetry.files.get() == str(weights)
    assert numbers.tolist() == [1, 1, 7]
    watching.cancel()
