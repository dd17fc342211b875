"""A bundle as a folder for another target: C, WebAssembly, Python, ONNX, or a device."""
