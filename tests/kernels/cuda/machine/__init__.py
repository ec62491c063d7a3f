"""A machine without a GPU in the place of one, for tests: our .cu files compiled by the C++ compiler that is here."""
