"""TensorRT, and TensorRT for RTX, which share an API: engines built from a bundle's ONNX, kept, and run."""
