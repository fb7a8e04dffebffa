"""The native engine: one source of kernels, compiled for several sets of instructions."""
