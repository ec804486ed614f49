"""Take over a dexterous robot, correct it, and make its policy better."""

__version__ = "0.1.0"
