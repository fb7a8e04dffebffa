"""How models are made: heads on an encoder that stays as it is, or learns too.

    one file → tasks (texts, labels, three sides) → phases of a strategy → the best on dev → calibrated, saved, scored as served

Read the modules in this order: the room `data` and `corpora` (the texts), `configuration` (the file), `tasks` and `words` (what a
head learns), `store` and `states` (what it reads), `objectives` (how wrong it is, and how good), `sampling` (batches), `strategies`
(the phases), `learner` (what learns, and at which rate), `loop` (a phase), `snapshot` (going on after a kill), `learn` (all
phases), `temperature` (calibration), `quality` and `evaluation` (what a model is worth), `scores`, `card`, and `train`, which puts
them together. The room `comparison` holds the strategies against each other.
"""
