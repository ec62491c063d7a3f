"""Residency: which models of a worker are in memory, and whose turn it is to compute."""
