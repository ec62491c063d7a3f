"""Tests of runtime/telemetry."""
