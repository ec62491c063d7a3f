"""Tests of runtime/store."""
