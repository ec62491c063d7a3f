"""Installation as a service."""
