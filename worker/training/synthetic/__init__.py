"""Texts with entities made by rule, for a task that has too few: labelled by construction, the same for the same seed.

templates (a file of sentences with slots) ─┐
                                            ├─▶ made: as many as wanted, none like a held-out text ─▶ JSON lines
swapping (entities of your own texts) ──────┘
"""
