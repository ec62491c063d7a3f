"""Tests, at the same path as the code that they test."""
