"""Synthetic texts with entities, for tasks with few texts; the same seed gives the same texts.

templates (a file of sentences with slots) ───┐
                                              ├─▶ generate: all different, none similar to a held-out text ─▶ JSON lines
mention_replacement (entities of your texts) ─┘
"""
