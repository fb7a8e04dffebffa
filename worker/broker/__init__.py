"""The Kafka side of the worker. Only this package imports aiokafka."""
