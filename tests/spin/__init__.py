"""The model of bridge, lease, worker and kill, checked with spin and replayed on the implementation."""
