"""Onnxruntime as the recipes use it: one thread, quiet, and right on every processor."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from runtime.backends.onnxruntime import PRECISE


def session_of(model: Path | str | bytes) -> onnxruntime.InferenceSession:
    """Returns a session on a model's file or bytes, with integer products that do not saturate."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry(*PRECISE)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
