"""ONNX files: judged by a reader of our own, then measured with ONNX Runtime."""
