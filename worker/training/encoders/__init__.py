"""Distillation of encoders from unlabelled texts."""
