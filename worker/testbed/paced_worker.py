"""A worker whose forward passes have a minimum duration, and that may wait before it joins the group.

python -P -m worker.testbed.paced_worker SECONDS [LOADED GATE]

Long batches in flight then take no processor time from the other workers of the machine. With GATE, the worker loads its model,
creates the file LOADED, and continues when the file GATE exists.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from worker.batches import LIVE_PASS, PassContext
from worker.cli import main
from worker.commands.run.signals import leave_at_once
from worker.model import engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.records import Prediction, TokenizedItem

_GATE_INTERVAL_S = 0.005


class PacedEngine(engine.Engine):
    """An engine with a minimum duration of each pass after the warm-up."""

    #: The minimum duration, in seconds.
    pass_s = 0.0
    #: The file to create after the warm-up, and the file to wait for; empty for none.
    gate: Sequence[Path] = ()
    _is_warm = False

    def warm_up(self) -> None:
        """Run the first passes, and wait for the gate."""
        super().warm_up()
        self._is_warm = True
        if self.gate:
            loaded, gate = self.gate
            loaded.touch()
            while not gate.exists():
                time.sleep(_GATE_INTERVAL_S)

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run one forward pass, and return after the minimum duration."""
        ends_s = time.monotonic() + self.pass_s
        predictions = super().infer(items, context)
        if self._is_warm:
            time.sleep(max(0.0, ends_s - time.monotonic()))
        return predictions


if __name__ == "__main__":
    leave_at_once()
    PacedEngine.pass_s, PacedEngine.gate = float(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    engine.Engine = PacedEngine  # type: ignore[misc]  # the worker loads this class
    sys.argv[1:] = ["run"]
    main()
