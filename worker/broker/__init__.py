"""The only room that imports Kafka's client."""
