"""Agents: what looks at a desktop's pixels and decides the next action. The seam is `protocol.py`."""
