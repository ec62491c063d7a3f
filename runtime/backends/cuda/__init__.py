"""A CUDA device as backends see it: the seam, the driver behind it, and a host in its place for tests."""
