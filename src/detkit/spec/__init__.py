"""Architectures, preprocessing and (later) search spaces and quantization schemes, AS DATA."""
