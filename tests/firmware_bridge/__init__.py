"""Mirrors firmware_bridge/."""
