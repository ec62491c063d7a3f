"""Reads the vehicle, decides by policy and alone writes the gate word. Stands on `kernels` only."""
