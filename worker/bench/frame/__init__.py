"""What all benchmarks share: runs and their tables, reports, processes of candidates, the context and the machine."""
