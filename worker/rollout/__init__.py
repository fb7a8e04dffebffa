"""Rollout of models: the plan says which model serves an offset, the router finds it."""
