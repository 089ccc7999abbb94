"""OpenVINO: an ONNX file or its own format, on the CPU."""
