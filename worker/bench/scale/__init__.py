"""How far more replicas go, what a change of their number costs, and what each knob does; the law that extrapolates is in `law`."""
