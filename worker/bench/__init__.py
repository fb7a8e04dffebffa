"""Benchmarks. Nothing here runs in production."""
