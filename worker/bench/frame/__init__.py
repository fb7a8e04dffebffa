"""What all benchmarks share: the context of a run, the machine, the report and the style of plots."""
