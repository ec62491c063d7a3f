"""Tests of runtime/wire: golden bytes, the framing, both machines against each other, tiles, and strangers' bytes."""
