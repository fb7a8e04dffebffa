"""The benchmark of the engine without a broker: backends, the usual libraries, and the bare matrix products."""
