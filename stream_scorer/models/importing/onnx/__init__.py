"""ONNX files: judged by our own reader, then measured with ONNX Runtime."""
