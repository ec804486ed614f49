"""One MuJoCo world; simulated devices are its ports."""
