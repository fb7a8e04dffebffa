"""What demo, benchmarks and tests share: an embedded Kafka, worker processes and the delivery audit."""
