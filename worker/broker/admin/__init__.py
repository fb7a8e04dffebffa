"""Administration requests: topics, offsets, permissions and the versions of the brokers."""
