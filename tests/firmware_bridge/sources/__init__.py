"""Mirrors firmware_bridge/sources/."""
