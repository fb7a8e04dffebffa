"""A worker with fake models, each named as its reference; a model whose name begins with `bad` does not load.

python -m tests.integration.support.rolled_worker SECONDS    the pause of each forward pass
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from tests.integration.support.slow_worker import SlowModel
from worker.commands.run import process
from worker.composition import model as engines
from worker.errors import BadModel
from worker.settings import read

if TYPE_CHECKING:
    from worker.settings import Settings


def main(seconds: float) -> None:
    """Run the worker."""

    def load(settings: Settings) -> Any:
        if settings.model.startswith("bad"):
            raise BadModel(f"{settings.model}: no such directory")
        model = SlowModel()
        model.name = f"{settings.model}@1"
        model.on_infer = lambda _items: time.sleep(seconds)
        return model

    engines.load_engine = load
    process.run(read())


if __name__ == "__main__":
    main(float(sys.argv[1]))
