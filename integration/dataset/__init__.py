"""Datasets after recording: in other formats, and what is in them."""
