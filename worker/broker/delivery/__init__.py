"""Delivery of outputs and offsets: at least once and exactly once."""
