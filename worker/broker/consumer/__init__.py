"""The consumer: partitions, positions, fetches and the detection of a stalled client."""
