"""Tests of runtime/jobs."""
