"""Kafka clients for the commands. The worker does not use them."""
