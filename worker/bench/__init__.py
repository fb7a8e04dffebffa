"""Benchmarks: plan, run, results and report, in turn with baselines on the same texts.

Each candidate is a process of its own, and candidates take turns, so that other load on the machine affects all of them. Absolute
figures depend on the machine: compare ratios.

frame       context, machine, report (terminal, JSON, Markdown) and the style of plots
engine      backends, the usual libraries and the bare matrix products, without a broker. Read `plan`, `rounds`, `candidates`
stream      workers with a broker: backlog, offered loads, single records. Read `run` and `phases`
delivery    exactly-once against at-least-once
backfill    live records with and without a backfill
scale       replicas, partitions, single settings, changes of the consumer group
encodings   size and recall of each encoding of vectors
"""
