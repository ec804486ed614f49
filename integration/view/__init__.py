"""Seeing it: a running session or a recorded episode in the Rerun viewer, under the same names."""
