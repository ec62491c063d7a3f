"""Small programs in real toolkits that `idlehands eval desktop` has worked on; each writes down what was done in it."""
