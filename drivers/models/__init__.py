"""Published kinematic tables, one TOML file per arm or hand."""
