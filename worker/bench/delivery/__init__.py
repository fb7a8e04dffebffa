"""The benchmark of exactly-once delivery against at-least-once delivery."""
