"""Several workers on one machine, kept alive by one process.

What is decided is apart from processes: `division` shares the cores out, `policy` says what becomes of a replica that has ended,
`exposition` makes one page of metrics of many. `replica` is one worker process, and `supervisor` the life of all of them.
"""
