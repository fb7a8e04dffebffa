"""The worker with the broker in the loop."""
