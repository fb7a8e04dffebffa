"""Builds objects from settings. No other package does."""
