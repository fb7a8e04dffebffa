"""Quality of a model on held-out texts, with intervals.

Read the modules in this order: `bootstrap` (intervals), `labels`, `spans` and `vectors` (the figures of each task), `mistakes`,
`report` (all figures), `table` and `plot` (their presentation), `evaluate` (run the model).
"""
