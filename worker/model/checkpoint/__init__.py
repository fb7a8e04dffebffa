"""Checkpoints: how a reference is found, verified, read and written."""
