"""The proof that the gate never opens when it may not: an oracle of its own, all combinations, a solver, mutants."""
