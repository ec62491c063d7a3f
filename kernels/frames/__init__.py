"""The frame kernels: what changed on a screen, and what a model sees of it."""
