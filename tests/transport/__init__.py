"""Tests of runtime/transport: one contract for every link, then what is particular to each."""
