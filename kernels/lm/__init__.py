"""Language models of the Llama family from GGUF files, 4 and 8 bits: repacked once, run by our own kernels."""
