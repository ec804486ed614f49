"""Hardware-in-the-loop tests: the conformance suites on the rig you name."""
