"""Tests of runtime/ledger."""
