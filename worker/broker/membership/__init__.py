"""Group membership by the consumer rebalance protocol (KIP-848): only the partitions that move are paused."""
