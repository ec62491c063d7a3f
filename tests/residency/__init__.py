"""Tests of runtime/residency."""
