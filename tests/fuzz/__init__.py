"""Fuzzers: coverage-guided where atheris is installed, at random elsewhere. `make fuzz` runs them."""
