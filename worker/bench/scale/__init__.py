"""The benchmark of replicas, partitions, single settings, and changes of the consumer group."""
