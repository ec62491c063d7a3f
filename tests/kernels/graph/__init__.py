"""Tests of the int8 graph engine."""
