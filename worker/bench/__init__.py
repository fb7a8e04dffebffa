"""Benchmarks: our ways and what one would otherwise pick, side by side, on the same texts in the same minutes.

Each contestant is a process of its own, and one is asked at a time, so that whatever else the machine does falls on all of them
alike. Absolute figures move with the machine: ratios count.

engine      in one process each: our backends, the usual libraries, the bare matrix products. Read `plan` (who runs on what),
            `rounds` (the order), `contestant` (the process), then `ours`, `peers` and `roofline`
stream      with the broker in the loop: worker processes under a backlog and under offered loads. Read `run` and `phases`, then
            `engine` and `peer` (what it is held against)
encodings   what each way to write a vector weighs, and what it costs whoever searches
"""
