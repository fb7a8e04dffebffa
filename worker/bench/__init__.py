"""Benchmarks: the worker with the broker in the loop, and what it is compared with. Nothing here runs in production."""
