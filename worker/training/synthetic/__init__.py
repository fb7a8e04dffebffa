"""Synthetic texts with entities, for tasks with few texts; the same seed gives the same texts.

`templates` draws from a file of sentences with slots. `generate` replaces entities of your texts, and writes texts that are all
different, and none similar to a held-out text.
"""
