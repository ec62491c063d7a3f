"""The settings of serve, worker and desktop: one frozen object from one TOML file."""
