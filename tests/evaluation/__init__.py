"""Live evaluation."""
