"""Signed bundles of models and the store that they are installed in. Nothing unsigned gets past this room."""
