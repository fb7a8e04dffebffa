"""Metrics, logs, traces, the load estimate and the HTTP endpoints of an operator."""
