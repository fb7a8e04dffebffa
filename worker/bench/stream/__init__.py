"""The benchmark with a broker: workers under a backlog, under offered loads and with single records."""
