"""Run the command line as `python -P -m worker`."""

from worker.commands.run.signals import leave_at_once

if __name__ == "__main__":
    leave_at_once()
    from worker.cli import main

    main()
