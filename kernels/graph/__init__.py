"""The int8 graph engine: quantised ONNX models as a flat list of fused native ops that stop when the gate closes."""
