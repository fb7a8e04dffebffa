"""Comparison of training strategies on a large and a small task, with the same number of steps and several seeds.

    plan → cells, each appended to a journal → summary: a table and JSON

Read the modules in this order: `plan` (contenders and tasks), `cells` (one training run), `journal`, `summary`, `run`.
"""
