"""Run the command line as `python -P -m worker`."""

import gc
import sys

from worker.commands.run.signals import leave_at_once

if __name__ == "__main__":
    try:
        leave_at_once()
        # As in `gist_stream.main`: the collections while modules are imported find nothing.
        gc.set_threshold(500_000)
        from worker.cli import main
    except KeyboardInterrupt:
        # Ctrl-C while the modules are imported.
        sys.exit(130)
    main()
