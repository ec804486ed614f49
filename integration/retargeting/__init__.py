"""Retargeting from the command line: clips, calibration, pictures and comparisons."""
