"""The native halls: hot kernels, native engine, gate word, in C behind thin Cython doorways. Knows nothing else."""
