"""Oracles: what a person who sees through the page would do next. For training only; they read the DOM."""
