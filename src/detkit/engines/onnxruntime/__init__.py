"""ONNX Runtime: an ONNX file on the CPU, or on CUDA where that build is here."""
