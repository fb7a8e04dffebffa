"""The commands that look at and repair a stream: `dlq`, `offsets`, `lag`."""
