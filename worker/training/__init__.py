"""How heads are trained on top of a frozen encoder.

    read the corpora → encode every text once, keep the states on disk → train each head on them → save → evaluate as served

Read the modules in this order: the room `data` and `corpora` (the texts), `features` (the cached states), `fit` (a head) and
`temperature` (its calibration), `quality` (what a model is worth) and `evaluation`, which measures it, `card`, and `train`, which
puts them together.
"""
