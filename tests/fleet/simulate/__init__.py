"""Tests of runtime/fleet/simulate."""
