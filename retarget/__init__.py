"""Human keypoints to hand joint targets. Pure functions: no I/O, no clock, no torch."""
