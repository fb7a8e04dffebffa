"""The real worker with a slow `FakeModel` instead of the engine.

python -m tests.integration.support.slow_worker SECONDS    the pause of each forward pass
"""

from __future__ import annotations

import sys
import time

from tests.fakes import FakeModel
from worker.commands.run import process
from worker.composition import model as engines
from worker.settings import read


class SlowModel(FakeModel):
    """Blocks its thread for some seconds in each forward pass."""

    description = "slow"
    because = "a test wants it so"


def main(seconds: float) -> None:
    """Run the worker."""
    model = SlowModel()
    model.on_infer = lambda _items: time.sleep(seconds)
    engines.load_engine = lambda _settings: model  # type: ignore[assignment, return-value]
    process.run(read())


if __name__ == "__main__":
    main(float(sys.argv[1]))
