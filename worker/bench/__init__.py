"""Benchmarks: a plan, runs in turn with baselines on the same texts, and a report.

Each candidate is a process of its own, and candidates take turns, so that other load on the machine affects all of them. Absolute
figures depend on the machine: compare ratios.

frame       runs and their tables, the report (terminal, JSON, Markdown, plot, pages), the processes of candidates, the machine
engine      the engine, the usual libraries and the bare matrix products, without a broker. Read `plan`, `rounds`, `candidates`
stream      workers with a broker: backlog, offered loads, single records. Read `run`, `phases` and, for other settings, `modes`
api         the HTTP endpoint: a lone query, many clients, and a stream with and without queries
delivery    exactly-once against at-least-once
backfill    live records with and without a backfill
scale       replicas, partitions, single settings, changes of the consumer group
encodings   size and recall of each encoding of vectors
"""
