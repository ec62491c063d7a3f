"""Mirrors firmware_bridge/proof/."""
