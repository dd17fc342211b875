"""ONNX files: judged by our own reader, bounded by their shapes, measured with ONNX Runtime."""
