"""How good a model is on texts that it has not seen, and how sure that figure is. Only `plot` needs more than numpy and rich.

Read the modules in this order: `bootstrap` (what a figure is here), `labels`, `spans` and `vectors` (the figures of each task),
`mistakes`, `report` (all of them together), then `table` and `plot`, which show it.
"""
