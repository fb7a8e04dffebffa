"""The decisions of the pipeline: batching, order, sessions, backpressure and outcomes. No Kafka client, no torch, no settings."""
