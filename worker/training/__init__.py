"""Training of heads and encoders, and evaluation of models.

    configuration → tasks (texts, labels, three sides) → phases of a strategy → best epoch on dev → calibrated, saved and scored

Read the packages and modules in this order: `data` (labelled texts), `config` (a run's file), `learning` (tasks, states, losses,
phases), `evaluation` (quality of a model), `card`, and `train`, which calls the others. `comparison` compares the strategies,
`encoders` distils encoders, `synthetic` generates texts.
"""
