"""TensorRT and TensorRT-RTX: an engine file on an NVIDIA GPU."""
