"""Comparison of training strategies on a large and a small task, with the same number of steps and several seeds.

    plan → cells, each appended to a file of results → summary: a table and JSON

Read the modules in this order: `plan` (contenders and tasks), `run` (train the cells), `summary`.
"""
