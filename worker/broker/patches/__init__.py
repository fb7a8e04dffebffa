"""The patches of aiokafka: one module for each patch."""
