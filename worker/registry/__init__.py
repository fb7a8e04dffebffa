"""The client of a schema registry with Confluent's REST API, and the schemas that a worker has loaded from it."""
