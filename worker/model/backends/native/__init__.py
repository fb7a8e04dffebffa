"""The few operations that are worth a compiler: written once in portable C++, compiled for the processor that runs them."""
