"""Tests of the frame kernels: every variant against its reference, bit for bit."""
