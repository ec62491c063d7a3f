"""A library that fails or kills at the N-th write, and the loop that tries every N."""
