"""The native halls: hot kernels, the native engine and the gate word, in C behind thin Cython doorways. Knows nothing else."""
