"""Measurements that anyone can repeat: `python -m bench NAME [--json]`. Looks at the packages from outside."""
