"""Tests of the native halls; run on the host, under qemu (tests/arm/run) and sanitizers (tests/sanitizers/run)."""
