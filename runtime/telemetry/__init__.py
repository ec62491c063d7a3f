"""Telemetry: metrics for Prometheus and structured logs. Neither ever holds a frame, typed text, or an instruction."""
