"""The command line in a process that kills itself at a request to the broker.

python -m tests.integration.support.killed_command after:EndTxn:5 dlq replay    after the answer to its fifth EndTxn
"""

from __future__ import annotations

import signal
import sys

from tests.faults.lab.program import signal_at
from worker.cli import main

if __name__ == "__main__":
    signal_at(sys.argv.pop(1), signal.SIGKILL)
    main()
