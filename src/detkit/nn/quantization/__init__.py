"""Fake quantization: networks that compute with the rounding of INT8."""
