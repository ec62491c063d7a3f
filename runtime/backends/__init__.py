"""Backends: what runs a bundle's models. Loaded in a worker only, each when it is first asked for."""
