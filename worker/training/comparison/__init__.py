"""The strategies compared: a rich task, a scarce one, the same budget of steps for all, and several seeds.

    plan → cells, each appended to a journal when it is done → summary: a table, JSON, a picture

Read the modules in this order: `plan` (who is compared on what), `cells` (one of them), `journal`, `costs` (what serving costs),
`summary`, `plot`, `run`.
"""
