"""The benchmark of the engine: our ways and what one would otherwise pick, side by side, on the same texts in the same minutes.

Each contestant is a process of its own, which loads its model once and then waits to be asked; the parent asks one at a time, round
by round, so that whatever else the machine does falls on all of them alike. Absolute figures move with the machine: ratios count.

Read `plan` (who runs on what), `rounds` (the order), `contestant` (the process), then `ours`, `peers` and `roofline`.
"""
