"""What computes: instructions of the processor, devices, and threads."""
