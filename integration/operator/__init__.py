"""A simulated operator, acting only where a person acts."""
