"""Bounds of a run of an ONNX graph, from the shapes of its tensors, before ONNX Runtime has it."""
